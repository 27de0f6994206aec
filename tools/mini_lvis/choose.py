"""Chooses, on val, the settings of a trained detector that need no training.

    python tools/mini_lvis/choose.py work_dirs/mini_lvis/vild/vild_lite0_fpn_mini-lvis.py \\
        work_dirs/mini_lvis/vild/iter_700.pth --best 0 28 50

The network looks at each picture once, and the teacher at each crop; every setting makes its
detections of what they said. One setting after another is tried, with the others as chosen so far:
the objectness in the score, partial objects, the IoU in the score, the ensemble's weight, and, with
``--best``, on how many boxes the teacher has a word, and its weights. The best is what adds most to
the novel and the base AP of boxes together, without a base AP that is more than a point lower than
that of the config as it is. Prints every AP, and the options of the test tool that choose the best.
"""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import report
import torch
from lvis import LVIS
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor
from tqdm import tqdm

from mmdet_vild import load_detector
from mmdet_vild.datasets import to_original
from mmdet_vild.models.detectors import TeacherScoredViLD
from mmdet_vild.vocabulary import load_categories

HEAD, TEST = 'model.roi_head.bbox_head', 'model.test_cfg.rcnn'
#: Each setting: where it is in a config, and what is tried.
SETTINGS = {
    'ensemble_weight': (HEAD, (0.5, 2 / 3, 0.83, 1.0)),
    'iou_weight': (HEAD, (0.0, 0.2, 0.35, 0.5, 0.65)),
    'objectness_weight': (TEST, (0.0, 0.1, 0.2, 0.35, 0.5)),
    'partial': (TEST, (None, *((o, r) for o in (0.7, 0.8, 0.9) for r in (0.0, 0.5, 1.0)))),
    'best': ('model', ()),
    'novel_weight': ('model', (0.35, 0.5, 0.65, 0.8, 1.0)),
    'base_weight': ('model', (0.0, 0.2, 0.35, 0.5, 0.65)),
}
#: By how much the base AP may be lower.
ALLOWED = 1.0
BATCH_SIZE = 8


class RememberingTeacher:
    """A teacher that does not look at a crop again.

    Args:
        teacher: Embeds regions.
        known: The embeddings of an image, by the bytes of their boxes; new ones are added.
    """

    def __init__(self, teacher, known: dict[bytes, Tensor]) -> None:
        self.teacher, self.known = teacher, known

    def embed_regions(self, images: Sequence[np.ndarray], boxes: Sequence[Tensor]) -> Tensor:
        """As :meth:`OpenCLIPTeacher.embed_regions`, of one image."""
        keys = [box.numpy().tobytes() for box in boxes[0]]
        new = [i for i, key in enumerate(keys) if key not in self.known]
        embeddings = self.teacher.embed_regions(images, [boxes[0][new]])
        self.known.update(zip([keys[i] for i in new], embeddings, strict=True))
        return torch.stack([self.known[key] for key in keys]) if keys else embeddings


class Seen(NamedTuple):
    """What the network said of a picture, and the teacher of its crops."""

    sample: DetDataSample
    rois: Tensor
    embeddings: Tensor
    deltas: Tensor
    objectness: Tensor
    crops: dict[bytes, Tensor]


@MODELS.register_module()
class ReplayedViLD(TeacherScoredViLD):
    """A :class:`TeacherScoredViLD` that looks once, and detects as often as its settings change."""

    _crops: dict[bytes, Tensor] | None = None

    @property
    def teacher(self) -> RememberingTeacher:
        """Its teacher, and what it said of the picture."""
        return RememberingTeacher(super().teacher, self._crops)

    @torch.no_grad()
    def look(self, data: dict) -> list[Seen]:
        """What no setting changes, of a batch of pictures."""
        data = self.data_preprocessor(data, False)
        samples, features = data['data_samples'], self.extract_feat(data['inputs'])
        proposals = self.rpn_head.predict(features, samples, rescale=False)
        rois = bbox2roi([proposed.bboxes for proposed in proposals])
        extractor, counts = self.roi_head.bbox_roi_extractor, list(map(len, proposals))
        of_rois = self.roi_head.bbox_head.embed(extractor(features[: extractor.num_inputs], rois))
        parts = (each.split(counts) for each in (rois, *of_rois))
        return [
            Seen(sample, *of_image, proposed.scores, {})
            for sample, proposed, *of_image in zip(samples, proposals, *parts, strict=True)
        ]

    @torch.no_grad()
    def detections(self, seen: Seen) -> InstanceData:
        """The detections under the present settings, with boxes of the original image."""
        head, meta = self.roi_head.bbox_head, seen.sample.metainfo
        logits = head.classify(seen.embeddings)
        (region,) = head.predict_by_feat([seen.rois], [logits], [seen.deltas], [meta])
        self._crops = seen.crops
        found = self._classify(region, seen.objectness, seen.sample)
        found.bboxes = to_original(found.bboxes, seen.sample)
        return found

    def change(self, setting: Mapping) -> None:
        """Take the values of ``SETTINGS``."""
        rcnn = self.roi_head.test_cfg
        for name, value in setting.items():
            place = SETTINGS[name][0]
            if name == 'partial':
                value = value and dict(overlap=value[0], score_ratio=value[1])
            setattr({HEAD: self.roi_head.bbox_head, TEST: rcnn, 'model': self}[place], name, value)

    def setting(self) -> dict:
        """The values of ``SETTINGS`` that it has."""
        head, rcnn = self.roi_head.bbox_head, self.roi_head.test_cfg
        partial = rcnn.get('partial')
        setting = {
            'objectness_weight': rcnn.get('objectness_weight') or 0.0,
            'partial': partial and (partial.overlap, partial.get('score_ratio', 0.0)),
            **{name: getattr(self, name) for name in ('best', 'novel_weight', 'base_weight')},
        }
        if hasattr(head, 'ensemble_weight'):
            setting['ensemble_weight'] = head.ensemble_weight
        if head.loss_iou is not None:
            setting['iou_weight'] = head.iou_weight
        return {name: setting[name] for name in SETTINGS if name in setting}


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='as the train tool wrote it into its folder')
    parser.add_argument('checkpoint')
    parser.add_argument(
        '--best',
        type=int,
        nargs='+',
        help="on how many boxes of an image the teacher has a word (default: the config's; a "
        'detector without a teacher has 0)',
    )
    parser.add_argument('--images', type=int, help='how many pictures of val (default: all)')
    args = parser.parse_args(argv)
    if min(args.best or [0]) < 0 or (args.images is not None and args.images < 1):
        parser.error('--images must be 1 or more, and --best not negative')
    print(choose(Config.fromfile(args.config), args.checkpoint, args.best, args.images))


def choose(
    config: Config, checkpoint: str, best: Sequence[int] | None = None, images: int | None = None
) -> str:
    """Markdown of every setting that was tried, and the options of the best."""
    model, seen = look(config, checkpoint, images)
    ann_file = config.val_evaluator.ann_file
    gt, groups = LVIS(ann_file), report.category_groups(load_categories(ann_file))
    categories, img_ids = sorted(gt.get_cat_ids()), [each.sample.img_id for each in seen]

    def evaluate(setting: dict) -> dict:
        model.change(setting)
        rows = [row for each in seen for row in result_rows(model, each, categories)]
        return report.evaluate_rows(gt, rows, 'bbox', groups, img_ids)

    start = model.setting()
    choices = {name: values for name, (_, values) in SETTINGS.items() if name in start}
    choices['best'] = tuple(best or [start['best']])
    if max(choices['best']) == 0:
        choices = {n: v for n, v in choices.items() if SETTINGS[n][0] != 'model'}
    chosen, tried = search(evaluate, start, choices)
    options = cfg_options({k: v for k, v in chosen.items() if v != start[k]})
    return f'{table(tried)}\n\nThe best, of {len(seen)} pictures: {options or "as it is"}'


def look(
    config: Config, checkpoint: str, images: int | None = None
) -> tuple[ReplayedViLD, list[Seen]]:
    """A trained detector, and what it says of the first pictures of val, or of all."""
    init_default_scope(config.default_scope)
    logging.getLogger('lvis').setLevel(logging.ERROR)  # it doubts all that is in no file
    kind = config.model.type
    if kind not in ('ViLD', 'TeacherScoredViLD'):
        raise SystemExit(
            f'the settings that are chosen are of ViLD and TeacherScoredViLD, found a {kind}; take '
            'a config of one of these'
        )
    if kind == 'ViLD':
        config.model.best = 0
    config.model.type = 'ReplayedViLD'
    dataset = DATASETS.build(with_original(config.val_dataloader.dataset))
    model, seen = load_detector(config, checkpoint), []
    count = min(images or len(dataset), len(dataset))
    for first in tqdm(range(0, count, BATCH_SIZE), desc='looking'):
        samples = [dataset[i] for i in range(first, min(first + BATCH_SIZE, count))]
        seen += model.look(pseudo_collate(samples))
    return model, seen


def with_original(dataset: dict) -> dict:
    """A test set whose pictures come to the teacher, too."""
    load, *steps, packing = dataset['pipeline']
    if not any(step['type'] == 'KeepOriginalImage' for step in steps):
        steps = [dict(type='KeepOriginalImage'), *steps]
    keys = tuple(dict.fromkeys((*packing['meta_keys'], 'ori_img')))
    return dict(dataset, pipeline=[load, *steps, dict(packing, meta_keys=keys)])


def result_rows(model: ReplayedViLD, seen: Seen, categories: Sequence[int]) -> list[dict]:
    """The detections in a picture, as ``LVISMetric`` writes them."""
    found = model.detections(seen)
    boxes = torch.cat([found.bboxes[:, :2], found.bboxes[:, 2:] - found.bboxes[:, :2]], dim=1)
    image_id = seen.sample.img_id
    values = (boxes.tolist(), found.scores.tolist(), found.labels.tolist())
    return [
        dict(image_id=image_id, category_id=categories[label], bbox=box, score=score)
        for box, score, label in zip(*values, strict=True)
    ]


def search(
    evaluate: Callable[[dict], dict], start: dict, choices: Mapping[str, Sequence]
) -> tuple[dict, list[tuple[dict, dict]]]:
    """Try one setting after another, with the others as chosen so far.

    Args:
        evaluate: Says the AP of a setting, as :func:`report.evaluate_rows`.
        start: The setting to begin with.
        choices: Names, and the values to try.

    Returns:
        The best setting, and each that was tried with what was said of it, the first first.
    """

    def worth(figures: dict) -> float:
        return figures['AP']['novel'] + figures['AP']['base']

    chosen, best = dict(start), evaluate(start)
    tried, least = [(chosen, best)], best['AP']['base'] - ALLOWED
    for name, values in choices.items():
        before = chosen
        for value in values:
            if value == before[name]:
                continue
            setting = before | {name: value}
            figures = evaluate(setting)
            tried.append((setting, figures))
            if figures['AP']['base'] >= least and worth(figures) > worth(best):
                chosen, best = setting, figures
    return chosen, tried


def cfg_options(setting: Mapping) -> str:
    """A setting as ``--cfg-options`` of the test tool has it."""
    options = []
    for name, value in setting.items():
        place = f'{SETTINGS[name][0]}.{name}'
        if name == 'partial' and value:
            options += [f'{place}.overlap={value[0]:g}', f'{place}.score_ratio={value[1]:g}']
        else:
            options.append(f'{place}={value if value is None else f"{value:g}"}')
    return ' '.join(options)


def table(tried: Sequence[tuple[dict, dict]]) -> str:
    """Markdown of the AP of settings."""
    names = list(tried[0][0])
    lines = [
        '| ' + ' | '.join([*names, *report.AP_COLUMNS]) + ' |',
        '|---' * len(names) + '|---:' * len(report.AP_COLUMNS) + '|',
    ]
    for setting, figures in tried:
        cells = [f'{v:g}' if isinstance(v, float) else str(v) for v in setting.values()]
        cells += [f'{figures[metric][group]:.1f}' for metric, group in report.AP_COLUMNS.values()]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
