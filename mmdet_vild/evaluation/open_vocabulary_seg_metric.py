"""Mean IoU of semantic segmentation, of all classes and of base and novel ones."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from terminaltables import AsciiTable

#: Rows of what is counted for each class.
CORRECT, PREDICTED, ANNOTATED = range(3)
COUNTED = ('correct', 'predicted', 'annotated')


@METRICS.register_module()
class OpenVocabularySegMetric(BaseMetric):
    """IoU of each class over all pixels of the test set, and its means.

    A pixel counts unless the ground truth's label is its ``ignore_index``; one that is predicted as
    the prediction's ``ignore_index`` is missed. A class that is predicted, but in no ground truth,
    is counted in two ways:

    - detectron2's, in which papers are compared: ``mIoU`` is the mean over the classes that the
      ground truth has;
    - MMDetection's ``SemSegMetric``: ``mIoU_mmdet`` is the mean over the classes that the ground
      truth or a prediction has, so that such a class is a 0 in it.

    ``mAcc`` is the mean over the ground truth's classes of the share of their pixels that are
    found, ``pAcc`` the share of all pixels that are right, ``fwIoU`` the mean of IoU weighted by
    pixels. If the data set has novel classes, ``base_mIoU`` and ``novel_mIoU`` (and ``_mmdet``)
    are the means over these, in the one test in which all compete, and ``harmonic_mIoU`` their
    harmonic mean. All are percent; a mean over nothing is ``nan``.

    Of a sample, ``gt_sem_seg`` and ``pred_sem_seg`` are compared, both (1, H, W) of the picture's
    own size.

    Args:
        out_file: A JSON to write what is counted of each class to: ``classes``, and in their order
            ``correct``, ``predicted`` and ``annotated`` pixels; what tells other groups of classes
            apart than base and novel begins there.
        **kwargs: ``collect_device`` and ``prefix``, as of any metric.

    Raises:
        ValueError: A prediction has another size than the ground truth, or labels that are no
            classes.
    """

    default_prefix = 'sem_seg'

    def __init__(self, out_file: str | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.out_file = out_file

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch of predictions."""
        count = len(self.dataset_meta['classes'])
        for sample in data_samples:
            path = sample.get('img_path', 'a picture')
            if 'gt_sem_seg' not in sample:
                raise ValueError(
                    f'{path} was tested without ground truth; put LoadSemanticSegmentation into '
                    'the test pipeline, and give the data set label files'
                )
            truth, predicted = (_map(sample[key]) for key in ('gt_sem_seg', 'pred_sem_seg'))
            if truth.shape != predicted.shape:
                raise ValueError(
                    f'the prediction for {path} has {predicted.shape[::-1]} pixels (width, '
                    f'height), the ground truth {truth.shape[::-1]}; put LoadSemanticSegmentation '
                    'after Resize in the test pipeline, and predict with rescale=True'
                )
            ignored = sample['gt_sem_seg'].get('ignore_index')
            if ignored is None:
                raise ValueError(
                    f'the ground truth of {path} does not say which label is ignored; load it '
                    'with LoadSemanticSegmentation'
                )
            nothing = sample['pred_sem_seg'].get('ignore_index')
            self.results.append(pixel_counts(predicted, truth, count, ignored, nothing, path))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """The means, of the (3, C) counts of each picture."""
        counts = np.sum(results, axis=0)
        classes = self.dataset_meta['classes']
        novel = set(self.dataset_meta.get('novel_classes') or ())
        are_novel = np.array([name in novel for name in classes])
        self._print(counts, are_novel)
        if self.out_file:
            write_counts(self.out_file, classes, counts)
        figures = means(counts)
        if are_novel.any():
            base = _ious_only(means(counts[:, ~are_novel]), 'base')
            figures |= base | (others := _ious_only(means(counts[:, are_novel]), 'novel'))
            both = base['base_mIoU'], others['novel_mIoU']
            harmonic = 0.0 if not any(both) else 2 * both[0] * both[1] / sum(both)
            figures['harmonic_mIoU'] = harmonic
        return {name: round(float(value), 2) for name, value in figures.items()}

    def _print(self, counts: np.ndarray, are_novel: np.ndarray) -> None:
        """A table of the classes that there are."""
        iou, accuracy = 100 * ious(counts), 100 * _ratio(counts[CORRECT], counts[ANNOTATED])
        rows = [('class', 'IoU', 'Acc', 'annotated pixels')]
        for i, name in enumerate(self.dataset_meta['classes']):
            if np.isfinite(iou[i]):
                star = '*' if are_novel[i] else ''
                figures = f'{iou[i]:.2f}', f'{accuracy[i]:.2f}', f'{counts[ANNOTATED, i]:,}'
                rows.append((f'{name}{star}', *figures))
        legend = '\n* novel' if are_novel.any() else ''
        MMLogger.get_current_instance().info(f'\n{AsciiTable(rows).table}{legend}')


def pixel_counts(
    predicted: np.ndarray,
    truth: np.ndarray,
    count: int,
    ignore_index: int,
    nothing: int | None,
    path: str,
) -> np.ndarray:
    """How many pixels are found rightly, predicted and annotated of each class, (3, C) int64.

    Args:
        predicted: (H, W), labels and ``nothing``.
        truth: (H, W), labels and ``ignore_index``.
        count: C, of classes.
        ignore_index: Pixels with this ground truth do not count.
        nothing: Pixels with this prediction are of no class, and missed.
        path: Of the picture, for errors.

    Raises:
        ValueError: A label is no class.
    """
    valid = truth != ignore_index
    predicted, truth = predicted[valid].astype(np.int64), truth[valid].astype(np.int64)
    right = predicted[predicted == truth]
    predicted = predicted[predicted != nothing] if nothing is not None else predicted
    for labels, what in ((truth, 'ground truth'), (predicted, 'prediction')):
        if labels.size and not 0 <= labels.min() <= labels.max() < count:
            found = labels.min() if labels.min() < 0 else labels.max()
            raise ValueError(
                f'the {what} of {path} has the label {found}, but the data set has {count} '
                'classes; model and data set must have one vocabulary'
            )
    rows = right, predicted, truth
    return np.stack([np.bincount(row, minlength=count) for row in rows])


def write_counts(path: str | Path, classes: Sequence[str], counts: np.ndarray) -> None:
    """Write the (3, C) counts of classes as a JSON; see :class:`OpenVocabularySegMetric`."""
    rows = dict(zip(COUNTED, counts.tolist(), strict=True))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps({'classes': list(classes), **rows}) + '\n')


def read_counts(path: str | Path) -> tuple[list[str], np.ndarray]:
    """The classes, and their (3, C) counts, that :func:`write_counts` wrote."""
    content = json.loads(Path(path).read_text())
    return content['classes'], np.array([content[name] for name in COUNTED], np.int64)


def ious(counts: np.ndarray) -> np.ndarray:
    """IoU of each class, of (3, C) counts; ``nan`` of classes that nothing has."""
    union = counts[PREDICTED] + counts[ANNOTATED] - counts[CORRECT]
    return _ratio(counts[CORRECT], union)


def means(counts: np.ndarray) -> dict[str, float]:
    """The figures over all classes of (3, C) counts, in percent."""
    iou, annotated = ious(counts), counts[ANNOTATED]
    present = annotated > 0
    accuracy = _ratio(counts[CORRECT], annotated)
    share = _ratio(annotated, annotated.sum())
    return {
        'mIoU': 100 * _mean(iou[present]),
        'mIoU_mmdet': 100 * _mean(iou[np.isfinite(iou)]),
        'mAcc': 100 * _mean(accuracy[present]),
        'pAcc': 100 * float(_ratio(counts[CORRECT].sum(), annotated.sum())),
        'fwIoU': 100 * float((share * iou)[present].sum()) if present.any() else np.nan,
    }


def _ious_only(figures: dict[str, float], group: str) -> dict[str, float]:
    return {f'{group}_{key}': figures[key] for key in ('mIoU', 'mIoU_mmdet')}


def _map(labels: dict) -> np.ndarray:
    """(H, W) of what is (1, H, W)."""
    return torch.as_tensor(labels['sem_seg']).detach().cpu().numpy().squeeze(0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``nan`` where it is of nothing."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
