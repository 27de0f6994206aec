"""MMDetection's visualizer, for many words of which some are novel."""

import math
from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmdet.structures.mask import bitmap_to_polygon
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.dist import master_only
from mmengine.structures import InstanceData, PixelData
from torch.nn.functional import normalize
from torchvision.ops import nms

from mmdet_vild.options import Count, CountOrZero, Fraction, Positive, checked_options
from mmdet_vild.vocabulary import TextEmbeddings, same_space

from .label_layout import place_labels
from .semantic_maps import NAMED_SHARE, label_color, name_place, painted, shares

#: Cold and warm, which differ to colour-blind readers too; novel words also have a star.
BASE_COLORS = ((0, 90, 160), (0, 158, 115), (86, 180, 233), (70, 60, 170), (0, 190, 190))
NOVEL_COLORS = ((195, 70, 0), (230, 159, 0), (204, 90, 150), (150, 20, 40), (240, 120, 90))
STAR = '★ '
#: The smallest letters, and the distance of lines in multiples of their size, in pixels.
MIN_FONT, LINE = 13, 1.4
INDENT = 4 * ' '
#: Fields of detections, and what they are called.
PARTS = {'text_scores': 'text', 'image_scores': 'image', 'objectness': 'objectness'}
PARTS |= {'iou_scores': 'IoU'}
#: How many words are named for a region.
NEAREST = 3
#: Of regions that overlap by a larger IoU only the better one is drawn.
REGIONS_MAX_IOU = 0.5
#: A detector's masks have so many pixels a side, and are enlarged to their boxes.
MASK_SIDE = 28


@VISUALIZERS.register_module()
@checked_options
class OpenVocabularyVisualizer(DetLocalVisualizer):
    """``DetLocalVisualizer`` whose labels can be read, and which marks novel categories.

    Each word has a colour: a warm one, and a star, if it is novel, and a cold one if it is among
    ``dataset_meta['base_classes']``, which mmdet_vild's datasets and detectors have. Without it,
    colours are those of mmdet.

    A map of labels has a colour for each, names in its large areas, and beside it a legend with the
    share of each; pixels of no class stay as they are.

    Some of the teacher's regions of a training sample (``distill_instances``), as
    ``browse_dataset.py`` draws it, are drawn beside the ground truth, with the words nearest to
    them.

    Args:
        name: As mmdet's, and so ``*args``, ``text_color``, ``line_width`` and ``**kwargs``.
        text_embeddings: The text-embedding file whose words are named for the teacher's regions.
        max_proposals: At most this many regions are drawn, in the order of the sample, without
            those that overlap one of them by more than half.
        max_iou: Of detections that overlap by a larger IoU, whatever their words, only the surest
            is drawn, since the detector looks for each word apart; 1 draws all.
        explain: Whether to write beside the picture what ``test_cfg.rcnn.explain`` says of each
            score.
        min_size: A picture whose longer side has fewer pixels is enlarged by a whole factor
            where it is shown or written to a file; 0 enlarges none.
        font_scale: Letters and lines are larger by this factor: 2 for a figure of two columns.
        alpha: Opacity of masks.

    Raises:
        FileNotFoundError, ValueError: While drawing: ``text_embeddings`` cannot be read, or its
            words were encoded by another teacher than the regions; or scores are to be explained
            of which the detector says nothing.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        *args,
        text_embeddings: str | None = None,
        max_proposals: Count = 10,
        max_iou: Fraction = 0.7,
        explain: bool = False,
        min_size: CountOrZero = 500,
        font_scale: Positive = 1.0,
        text_color: str | tuple[int, ...] = (255, 255, 255),
        line_width: Positive = 2,
        alpha: Fraction = 0.15,
        **kwargs,
    ) -> None:
        super().__init__(
            name, *args, text_color=text_color, line_width=line_width, alpha=alpha, **kwargs
        )
        self.text_embeddings = text_embeddings
        self.max_proposals = max_proposals
        self.max_iou = max_iou
        self.explain = explain
        self.min_size = min_size
        self.font_scale = font_scale

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.3,
        step: int = 0,
    ) -> None:
        """Draw a sample; the arguments are those of ``DetLocalVisualizer``."""
        if data_sample is not None:
            data_sample = data_sample.new().cpu()
            if draw_gt and self.text_embeddings and 'distill_instances' in data_sample:
                # Drawn where mmdet has the predictions, beside the ground truth.
                data_sample.pred_instances = self._proposals(data_sample.distill_instances)
                draw_pred, pred_score_thr = True, -math.inf
            factor = math.ceil(self.min_size / max(image.shape[:2]))
            if factor > 1 and (show or out_file is not None):
                height, width = image.shape[:2]
                size = (width * factor, height * factor)
                image = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_CUBIC)
                for key in ('gt_instances', 'pred_instances'):
                    if key in data_sample:
                        data_sample.set_field(_enlarged(data_sample.get(key), factor), key)
                for key in ('gt_sem_seg', 'pred_sem_seg'):
                    if key in data_sample:
                        data_sample.set_field(_enlarged_map(data_sample.get(key), factor), key)
        super().add_datasample(
            name, image, data_sample, draw_gt, draw_pred, show, wait_time, out_file,
            pred_score_thr, step,
        )  # fmt: skip

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: list[str] | None,
        palette: list[tuple] | None,
    ) -> np.ndarray:
        """Draw masks, over them boxes, over them labels, and at the right a column of notes."""
        if 'bboxes' not in instances:
            return super()._draw_instances(image, instances, classes, palette)
        detected = 'scores' in instances
        if detected:
            if self.explain and 'notes' not in instances:
                instances = instances.new()
                instances.notes = self._explanations(instances)
            # The surest first: its label is placed first.
            instances = surest(instances, self.max_iou)
        words = instances.get('label_names')
        if words is None:
            words = [classes[i] if classes else f'class {i}' for i in map(int, instances.labels)]
        novel = self._are_novel(words, instances.get('novel'))
        names = list(map(_marked, words, novel))
        if 'base_classes' in self.dataset_meta:
            colors = list(map(word_color, instances.labels, novel))
        else:
            colors = _colors(palette, instances)
        fills = _colors(self.mask_color, instances) if self.mask_color else colors
        edges = _colors(self.bbox_color, instances) if self.bbox_color else colors

        height, width = image.shape[:2]
        font = self._font(height, width)
        if 'notes' in instances:
            names = [f'{i} {name}' for i, name in enumerate(names, 1)]
            column = self._column(names, instances.notes, height, font)
        elif detected:
            names = [f'{n} {100 * s:.1f}' for n, s in zip(names, instances.scores, strict=True)]

        self.set_image(image)
        order = slice(None, None, -1)  # the surest is drawn last
        if len(instances) and 'masks' in instances:
            masks = _masks(instances)
            if detected:
                masks = _smooth(masks, get_box_tensor(instances.bboxes))
            self.draw_binary_masks(masks[order], colors=fills[order], alphas=self.alpha)
            outlines = [outline for mask in masks for outline in bitmap_to_polygon(mask)[0]]
            if outlines:
                self.draw_polygons(outlines, edge_colors='w', alpha=0.8, line_widths=1)
        if len(instances):
            boxes = np.asarray(get_box_tensor(instances.bboxes), dtype=float).reshape(-1, 2, 2)
            # Within what mmengine takes for the picture; it warns of each box at the border.
            boxes = boxes.clip(0, [width - 1, height - 1])
            # Some coders swap the corners of a box of less than a pixel.
            boxes = np.sort(boxes, axis=1).reshape(-1, 4)
            line_width = self.line_width * font / MIN_FONT
            self.draw_bboxes(
                boxes[order], edge_colors=edges[order], alpha=1, line_widths=line_width
            )
            self._draw_labels(names, boxes, edges, font)
        drawn = self.get_image()
        return np.concatenate([drawn, column], axis=1) if 'notes' in instances else drawn

    def _draw_sem_seg(
        self,
        image: np.ndarray,
        sem_seg: PixelData,
        classes: list[str] | None,
        palette: list[tuple] | None,
    ) -> np.ndarray:
        """Paint each label, name large areas, and list all in a legend at the right."""
        seg_map = np.asarray(sem_seg.sem_seg).squeeze(0)
        found = shares(seg_map, sem_seg.get('ignore_index', 255))
        words = sem_seg.get('label_names', classes)
        words = [words[label] if words else f'class {label}' for label in found]
        novel = sem_seg.get('novel')
        novel = self._are_novel(words, None if novel is None else novel[list(found)])
        names = list(map(_marked, words, novel))
        height, width = seg_map.shape
        font = self._font(height, width)
        self.set_image(painted(image, seg_map, list(found)))
        for name, (label, share) in zip(names, found.items(), strict=True):
            if share <= NAMED_SHARE:
                continue
            x, y, room = name_place(seg_map == label)
            size = np.array(self._text_size(name, font))
            if room > font / 2:
                corner = np.clip([x, y] - size / 2, 0, [width, height] - size)
                backdrop = dict(facecolor=(0, 0, 0, 0.5), edgecolor='none', pad=1)
                self._draw_text(name, corner, font, 'white', bboxes=backdrop)
        drawn = self.get_image()
        return np.concatenate([drawn, self._legend(names, found, height, font)], axis=1)

    def _font(self, height: int, width: int) -> float:
        """The height of letters in a picture."""
        return self.font_scale * max(MIN_FONT, math.sqrt(height * width) / 45)

    def _legend(
        self, names: list[str], found: dict[int, float], height: int, font: float
    ) -> np.ndarray:
        """A white column of colours, names and shares, as high as the picture."""
        font = max(MIN_FONT, min(font, height / LINE / (len(names) + 1)))
        fit = int(height / LINE / font) - 1
        rows = [f'{name} {share:.1%}' for name, share in zip(names, found.values(), strict=True)]
        shown = len(rows) if len(rows) <= fit else max(fit - 1, 0)
        if shown < len(rows):
            rows[shown:] = [f'and {len(rows) - shown} more']
        width = max((self._text_size(row, font)[0] for row in rows), default=0)
        column = np.full((height, math.ceil(width + 3.5 * font), 3), 255, np.uint8)
        tops = [font * (0.5 + LINE * i) for i in range(len(rows))]
        for label, top in zip(list(found)[:shown], tops, strict=False):
            column[int(top) : int(top + font), int(font) : int(2 * font)] = label_color(label)
        self.set_image(column)
        for top, row in zip(tops, rows, strict=True):
            self._draw_text(row, np.array([2.5 * font, top]), font, 'black')
        return self.get_image()

    def _draw_labels(
        self, texts: list[str], boxes: np.ndarray, colors: list[tuple], font: float
    ) -> None:
        """Draw a label at each box, on a dark shade of its colour."""
        pad = font / 6
        sizes = np.array([self._text_size(text, font) for text in texts]) + 2 * pad
        places = place_labels(boxes, sizes, self.width, self.height)
        for i in reversed(range(len(texts))):
            shade = min(1, 100 / max(np.dot(colors[i], (0.3, 0.6, 0.1)), 1)) / 255
            backdrop = dict(facecolor=[shade * channel for channel in colors[i]], edgecolor='none')
            backdrop['pad'] = self._points(pad)
            self._draw_text(texts[i], places[i, :2] + pad, font, self.text_color, bboxes=backdrop)

    def _column(self, names: list[str], notes: list[str], height: int, font: float) -> np.ndarray:
        """A white column with names and notes (more lines each), as high as the picture."""
        blocks = [f'{n} {note}'.split('\n') for n, note in zip(names, notes, strict=True)]
        lines = sum(blocks, []) or ['none']
        font = max(MIN_FONT, min(font, height / LINE / (len(lines) + 1)))
        fit = int(height / LINE / font) - 1
        if len(lines) > fit:
            while blocks and sum(map(len, blocks)) > fit - 1:
                blocks.pop()
            lines = sum(blocks, []) + [f'and {len(names) - len(blocks)} more']
        width = max(self._text_size(line, font)[0] for line in lines)
        self.set_image(np.full((height, math.ceil(width + 2 * font), 3), 255, np.uint8))
        for i, line in enumerate(lines):
            self._draw_text(line, np.array([font, font * (0.5 + LINE * i)]), font, 'black')
        return self.get_image()

    def _draw_text(self, text: str, place: np.ndarray, font: float, color, **options) -> None:
        size = self._points(font)
        self.draw_texts(_plain(text), place, font_sizes=size, colors=color, **options)

    def _text_size(self, text: str, font: float) -> tuple[float, float]:
        """Width and height of a text in pixels."""
        artist = self.ax_save.text(0, 0, _plain(text), size=self._points(font))
        extent = artist.get_window_extent(self.fig_save_canvas.get_renderer())
        artist.remove()
        return extent.width, extent.height

    def _points(self, pixels: float) -> float:
        return float(pixels * 72 / self.dpi)

    def _proposals(self, regions: InstanceData) -> InstanceData:
        """The teacher's regions, as detections of the nearest words, with others as notes."""
        text = self._text
        if not same_space(regions.teacher, text.teacher):
            raise ValueError(
                f'the region embeddings come from the teacher {regions.teacher}, but the words of '
                f'{self.text_embeddings} were encoded by {text.teacher}; both must come from one '
                'teacher'
            )
        boxes = torch.as_tensor(regions.bboxes).float()
        kept = nms(boxes, torch.arange(len(boxes), 0, -1.0), REGIONS_MAX_IOU)[: self.max_proposals]
        words = normalize(torch.from_numpy(text.embeddings), dim=1)
        embeddings = normalize(torch.as_tensor(regions.embeddings)[kept].float(), dim=1)
        similarities, labels = (embeddings @ words.T).topk(min(NEAREST, len(words)))
        names = [[text.names[label] for label in row] for row in labels.tolist()]
        notes = []
        for (best, *values), (_, *others) in zip(similarities.tolist(), names, strict=True):
            marked = map(_marked, others, self._are_novel(others))
            lines = [f'{name} {value:.2f}' for name, value in zip(marked, values, strict=True)]
            notes.append(f'\n{INDENT}'.join([f'{best:.2f}', *lines]))
        return InstanceData(
            bboxes=boxes[kept],
            labels=labels[:, 0],
            label_names=[nearest[0] for nearest in names],
            scores=similarities[:, 0],
            notes=notes,
        )

    def _are_novel(self, words: Sequence[str], novel: torch.Tensor | None = None) -> list[bool]:
        """Of each word; a detector knows its words better than their names tell."""
        base = self.dataset_meta.get('base_classes')
        if base is None:
            return [False] * len(words)
        return [word not in base for word in words] if novel is None else list(map(bool, novel))

    def _explanations(self, instances: InstanceData) -> list[str]:
        """The score of each detection, its parts, and those of other words."""
        if 'other_names' not in instances:
            raise ValueError(
                f'explain=True, but the detections have only {sorted(instances.keys())}; let the '
                'detector say what scores are made of, with model.test_cfg.rcnn.explain=3'
            )
        parts = {name: instances[field] for field, name in PARTS.items() if field in instances}
        explanations = []
        for i, score in enumerate(instances.scores):
            made_of = [
                f'{name} {100 * values[i]:.1f}'
                for name, values in parts.items()
                if not math.isnan(values[i])  # a teacher that was not asked
            ]
            rows = [f'{100 * score:.1f}', *filter(None, [', '.join(made_of)])]
            words, scores = instances.other_names[i], instances.other_scores[i]
            marked = map(_marked, words, self._are_novel(words, instances.other_novel[i]))
            rows += [f'or {name} {100 * s:.1f}' for name, s in zip(marked, scores, strict=True)]
            explanations.append(f'\n{INDENT}'.join(rows))
        return explanations

    @cached_property
    def _text(self) -> TextEmbeddings:
        return TextEmbeddings.load(self.text_embeddings)


def surest(found: InstanceData, max_iou: float) -> InstanceData:
    """Detections, the surest first, without those that overlap a surer one by more than an IoU.

    NMS across words: MMDetection's is for each word apart, so that one object may be found under
    two. It is for pictures, and not for the evaluation.
    """
    boxes, scores = map(torch.as_tensor, (get_box_tensor(found.bboxes), found.scores))
    return found[nms(boxes.float(), scores.float(), max_iou)]


def word_color(label: int, novel: bool) -> tuple[int, int, int]:
    """RGB, of the few that there are, so that neighbours in a list of words differ."""
    colors = NOVEL_COLORS if novel else BASE_COLORS
    return colors[int(label) % len(colors)]


def _colors(color: list | tuple | str | None, instances: InstanceData) -> list[tuple]:
    """Of each instance, from what mmdet takes as colours of classes."""
    labels = [int(label) for label in instances.labels]
    palette = get_palette(color, max(labels, default=0) + 1)
    return [tuple(map(int, palette[label])) for label in labels]


def _masks(instances: InstanceData) -> np.ndarray:
    masks = instances.masks
    return np.asarray(masks.to_ndarray() if hasattr(masks, 'to_ndarray') else masks).astype(bool)


def _enlarged(instances: InstanceData, factor: int) -> InstanceData:
    enlarged = instances.new()
    if 'bboxes' in instances:
        enlarged.bboxes = get_box_tensor(instances.bboxes) * factor
    if 'masks' in instances:
        enlarged.masks = _masks(instances).repeat(factor, axis=1).repeat(factor, axis=2)
    return enlarged


def _enlarged_map(sem_seg: PixelData, factor: int) -> PixelData:
    pixels = torch.as_tensor(sem_seg.sem_seg)
    pixels = pixels.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    return PixelData(metainfo=sem_seg.metainfo, sem_seg=pixels)


def _smooth(masks: np.ndarray, boxes: torch.Tensor) -> np.ndarray:
    """Detected masks without the staircases of their few pixels, blurred by nearly one of them."""
    smooth = masks.copy()
    corners = torch.as_tensor(boxes).reshape(-1, 2, 2).sort(dim=1).values.int().tolist()
    for mask, ((x1, y1), (x2, y2)) in zip(smooth, corners, strict=True):
        pad = 2 + max(x2 - x1, y2 - y1) // MASK_SIDE
        part = mask[max(y1 - pad, 0) : y2 + pad, max(x1 - pad, 0) : x2 + pad]
        if part.size:
            # fewer pixels, because a wide blur takes long
            height, width = (min(side, 4 * MASK_SIDE) for side in part.shape)
            small = cv2.resize(part * 1.0, (width, height), interpolation=cv2.INTER_AREA)
            sigma = 0.8 * width / MASK_SIDE, 0.8 * height / MASK_SIDE
            small = cv2.GaussianBlur(small, (0, 0), *sigma, borderType=cv2.BORDER_REPLICATE)
            part[:] = cv2.resize(small, part.shape[::-1]) > 0.5
    return smooth


def _marked(name: str, is_novel: bool) -> str:
    """A name as it is drawn."""
    return STAR + name if is_novel else name


def _plain(text: str) -> str:
    """Escaped, because matplotlib takes what is between two dollar signs for a formula."""
    return text.replace('$', r'\$')
