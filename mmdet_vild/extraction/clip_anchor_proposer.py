"""The regions that the teacher itself proposes: anchors in which it is sure of a name."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.registry import TASK_UTILS
from mmdet.structures import DetDataSample, SampleList
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.ops import box_iou, nms

from mmdet_vild.datasets import original_image, to_original
from mmdet_vild.options import Count, Fraction, Positive, check_option, checked_options
from mmdet_vild.vocabulary import TextEmbeddings, same_space

from .ground_truth_proposer import base_boxes, novel_labels
from .proposer import Proposer, digest

#: With ``score='grid'``, the least probability of a cell's best anchor.
GRID_LEAST = 0.9
#: Of ``random_candidates``: an image has the same ones in every run.
SEED = 42
Score = Literal['entropy', 'confidence', 'least_confidence', 'grid']


@TASK_UTILS.register_module()
@checked_options
class CLIPAnchorProposer(Proposer):
    """CLIP proposals (EZSD): of a grid of anchors, those in which the teacher sees a name best.

    Anchors lie on the image as the network sees it. The teacher looks at each without context, and
    the best ``num_proposals`` are left by an NMS. Of those that overlap no annotated object of a
    base category, ``num_candidates`` are looked at once more, as the teacher's ``crop_scales`` say;
    the best ``num_kept`` are proposed, with their embeddings, and with the probability of their
    likeliest name as the weight. Boxes of novel categories are never looked at.

    Args:
        text_embeddings: A text-embedding file, of the teacher or of what it was tuned from.
        with_novel_names: Whether the file's novel names are among those that the teacher chooses
            from. What is then distilled is chosen by them, which an open-vocabulary benchmark does
            not allow; OV-COCO's zero-shot annotation setting does.
        score: ``'entropy'``: log C less the entropy of the softmax over C names. ``'confidence'``:
            the highest probability, or ``'least_confidence'``: the lowest of these. ``'grid'``: of
            each cell the anchor of highest probability, if that is 0.9 or more.
        stride: Pixels between the centres of anchors.
        sizes: Square roots of their areas, in pixels of the network's input.
        ratios: Of their height to their width.
        nms_iou: Of two that overlap more, the worse one goes.
        num_proposals: At most this many are left by the NMS.
        base_iou: Those of this IoU or more with an annotated box of a base category, or with a
            crowd of one, go; None keeps them.
        num_candidates: At most this many of the others are looked at again.
        random_candidates: Whether these are drawn, the same in each run, or the best.
        drop_base: Whether those whose likeliest name is of a base category go, too.
        num_kept: At most this many are proposed.
        regions: Config of another :class:`Proposer`, whose regions take the place of anchors: a
            rival, of an RPN's 1000 in place of 13,000 anchors.

    Raises:
        ValueError: Options contradict each other; another teacher encoded the words, or they call
            other categories novel than the dataset does; by :meth:`source`.
    """

    def __init__(
        self,
        text_embeddings: str,
        with_novel_names: bool = False,
        score: Score = 'entropy',
        stride: Count = 32,
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        nms_iou: Fraction = 0.7,
        num_proposals: Count = 1000,
        base_iou: Fraction | None = 0.3,
        num_candidates: Count = 1000,
        random_candidates: bool = False,
        drop_base: bool = False,
        num_kept: Count = 300,
        regions: dict | None = None,
    ) -> None:
        for name, values in (('sizes', sizes), ('ratios', ratios)):
            for value in values or [None]:
                check_option(value, Positive, f'a value of {name} of CLIPAnchorProposer')
        if drop_base and not with_novel_names:
            raise ValueError(
                'drop_base=True of CLIPAnchorProposer drops what looks like a base category, which '
                'is everything if base names alone are known; set with_novel_names=True, or '
                'drop_base=False'
            )
        if regions is not None and score == 'grid':
            raise ValueError(
                "score='grid' of CLIPAnchorProposer takes the best anchor of each cell; with "
                "regions of another proposer take 'confidence'"
            )
        self.settings = {k: v for k, v in locals().items() if k in _SETTINGS}
        text = TextEmbeddings.load(text_embeddings)
        self.text, self.text_file = text, text_embeddings
        used = ~torch.from_numpy(text.novel) | with_novel_names
        if not used.any():
            raise ValueError(
                f'all words of {text_embeddings} are novel, so that CLIPAnchorProposer has no name '
                'to look for; set with_novel_names=True where the benchmark allows it'
            )
        self.names = [name for name, use in zip(text.names, used.tolist(), strict=True) if use]
        self.words = normalize(torch.from_numpy(text.embeddings), dim=1)[used]
        self.novel = torch.from_numpy(text.novel)[used]
        self._scaled: Tensor | None = None
        self.score, self.nms_iou, self.num_proposals = score, nms_iou, num_proposals
        self.base_iou, self.drop_base, self.num_kept = base_iou, drop_base, num_kept
        self.num_candidates, self.random_candidates = num_candidates, random_candidates
        self.regions = None if regions is None else TASK_UTILS.build(regions)
        self.anchors = anchor_generator(stride, sizes, ratios)

    def source(self, model: nn.Module) -> dict:
        """All options, digests of the words, and which of them are novel."""
        self._check(model)
        words = digest([*self.names, self.text.embeddings])
        found = {'words': f'{len(self.names)}@{words}', 'novel_words': int(self.novel.sum())}
        if self.novel.any():
            found['novel_words'] = f'{found["novel_words"]}@{digest([self.novel])}'
        if self.regions is not None:
            found['regions'] = self.regions.source(model)
        return {'clip_proposals': {**self.settings, **found}}

    def _check(self, model: nn.Module) -> None:
        wide = model.teacher.embed_dims, self.text.embed_dims
        if not same_space(model.teacher.identity, self.text.teacher) or wide[0] != wide[1]:
            raise ValueError(
                f'CLIPAnchorProposer compares regions that {model.teacher.identity} embeds, '
                f'{wide[0]} wide, with the words of {self.text_file}, which {self.text.teacher} '
                f'encoded, {wide[1]} wide; encode them with that teacher, or with the one that it '
                'was tuned from'
            )
        flags = dict(zip(self.text.names, self.text.novel.tolist(), strict=True))
        pairs = zip(model.dataset_meta['classes'], novel_labels(model).tolist(), strict=True)
        if differing := [name for name, novel in pairs if flags.get(name, novel) != novel]:
            raise ValueError(
                f'the dataset and {self.text_file} differ on whether these are novel: '
                f'{differing[:5]}; encode the vocabulary with the novel categories of the dataset'
            )

    def propose(
        self, model: nn.Module, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> list[InstanceData]:
        """Propose regions for some images, by the same calls of the teacher."""
        device, teacher = batch_inputs.device, model.teacher
        images = [original_image(sample) for sample in batch_data_samples]
        if self.regions is None:
            boxes = [self._anchors(sample, device) for sample in batch_data_samples]
        else:
            others = self.regions.propose(model, batch_inputs, batch_data_samples)
            boxes = [other.bboxes.to(device) for other in others]
        if self._scaled is None or self._scaled.device != device:
            # Once: the host waits for each of the two.
            self._scaled = self.words.to(device) / teacher.temperature
            self.novel = self.novel.to(device)
        words, found = self._scaled, []
        seen = _embedded(teacher, images, boxes, (1.0,))
        for each, embeddings, sample in zip(boxes, seen, batch_data_samples, strict=True):
            scores, usable = name_scores(embeddings @ words.T, self.score, self._cell())
            if self.score == 'grid':
                each, scores = each[usable], scores[usable]
            best = nms(each, scores, self.nms_iou)[: self.num_proposals]
            best = best[self._not_annotated(each[best], model, sample)]
            best = self._candidates(best)
            found.append(InstanceData(bboxes=each[best], scores=scores[best]))
        seen = _embedded(teacher, images, [regions.bboxes for regions in found])
        for i, embeddings in enumerate(seen):
            weights, names = (embeddings @ words.T).softmax(1).max(1)
            found[i].weights, found[i].embeddings = weights, embeddings
            if self.drop_base:
                found[i] = found[i][self.novel[names]]
            found[i] = found[i][found[i].scores.argsort(descending=True, stable=True)]
            found[i] = found[i][: self.num_kept]
        return found

    def _anchors(self, data_sample: DetDataSample, device: torch.device) -> Tensor:
        boxes = anchors_of(self.anchors, data_sample.img_shape, device)
        return to_original(boxes, data_sample)

    def _cell(self) -> int:
        return self.anchors.num_base_priors[0]

    def _not_annotated(self, boxes: Tensor, model: nn.Module, data_sample: DetDataSample) -> Tensor:
        """(n,) bool: which boxes are not where an object of a base category is annotated."""
        if self.base_iou is None:
            return boxes.new_ones(len(boxes), dtype=torch.bool)
        annotated = torch.from_numpy(base_boxes(model, data_sample, with_crowds=True)).to(boxes)
        return apart_from(boxes, annotated, self.base_iou)

    def _candidates(self, best: Tensor) -> Tensor:
        if self.random_candidates:
            drawn = torch.randperm(len(best), generator=torch.Generator().manual_seed(SEED))
            best = best[drawn.to(best.device)]
        return best[: self.num_candidates]


#: What of the options decides the regions; files by what is in them.
_SETTINGS = (
    *('with_novel_names', 'score', 'stride', 'sizes', 'ratios', 'nms_iou', 'num_proposals'),
    *('base_iou', 'num_candidates', 'random_candidates', 'drop_base', 'num_kept'),
)


def _embedded(teacher, images: list, boxes: list[Tensor], scales=None) -> tuple[Tensor, ...]:
    """The embeddings (n, D) of the boxes of each image, which stay on the teacher's device."""
    return teacher.embed_regions(images, boxes, scales).split(list(map(len, boxes)))


def anchor_generator(
    stride: int, sizes: Sequence[float], ratios: Sequence[float]
) -> AnchorGenerator:
    """mmdet's, of one level: a ratio's sizes in a row, around multiples of the stride from 0 on."""
    scales = [size / stride for size in sizes]
    return AnchorGenerator(strides=[stride], ratios=ratios, scales=scales, base_sizes=[stride])


def anchors_of(generator: AnchorGenerator, img_shape: tuple[int, int], device: str) -> Tensor:
    """All anchors (n, 4) of an image of (height, width), whose centres are in it, clipped to it."""
    height, width = img_shape[:2]
    across, down = generator.strides[0]
    cells = (-(-height // down), -(-width // across))
    (anchors,) = generator.grid_priors([cells], device=device)
    limit = anchors.new_tensor([width, height] * 2)
    return torch.minimum(anchors.clamp(min=0), limit)


def name_scores(logits: Tensor, score: Score, cell: int = 1) -> tuple[Tensor, Tensor]:
    """How good regions are, and which of them may be proposed.

    Args:
        logits: (n, C), similarities with C names over the teacher's temperature.
        score: See :class:`CLIPAnchorProposer`.
        cell: How many regions in a row are of one cell.

    Returns:
        (n,) and (n,) bool.
    """
    log_p = logits.log_softmax(1)
    confidence = log_p.amax(1).exp()
    usable = torch.ones_like(confidence, dtype=torch.bool)
    if score == 'entropy':
        return math.log(logits.shape[1]) + (log_p.exp() * log_p).sum(1), usable
    if score == 'grid':
        best = confidence.view(-1, cell).argmax(1)
        usable = nn.functional.one_hot(best, cell).bool().flatten() & (confidence >= GRID_LEAST)
    return -confidence if score == 'least_confidence' else confidence, usable


def apart_from(boxes: Tensor, annotated: Tensor, iou: float) -> Tensor:
    """(n,) bool: which boxes (n, 4) overlap all of (m, 4) by less than ``iou``."""
    return (box_iou(boxes, annotated) < iou).all(1)
