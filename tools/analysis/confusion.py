"""Which word the detector gives to each annotated object."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from mmdet.evaluation import bbox_overlaps
from torch.utils.data import Dataset

#: Label of what an object is called of which there is no detection.
MISSED = -1


@dataclass
class Objects:
    """All annotated objects, an entry each.

    Attributes:
        image: (n,) index of the image in the dataset.
        box: (n, 4) ``x1, y1, x2, y2`` in pixels.
        label: (n,) the annotated category.
        called: (n,) category of the surest detection of the object, or ``MISSED``.
        score: (n,) of this detection, and its box.
        found: (n, 4) this detection's box.
        also: (n,) whether a detection with the object's own word overlaps it, of whatever score.
    """

    image: np.ndarray
    box: np.ndarray
    label: np.ndarray
    called: np.ndarray
    score: np.ndarray
    found: np.ndarray
    also: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> 'Objects':
        return Objects(*(getattr(self, field.name)[rows] for field in fields(self)))


def judge(
    boxes: np.ndarray,
    labels: np.ndarray,
    found: np.ndarray,
    found_labels: np.ndarray,
    scores: np.ndarray,
    iou_thr: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the surest detection of each object of an image.

    A detection belongs to the object of its own word that it overlaps most, or if there is none
    to the object that it overlaps most; in both cases by an IoU of at least ``iou_thr``. So an
    object that is annotated under two words is not confused by being called both.

    Args:
        boxes: (g, 4) of the objects.
        labels: (g,)
        found: (d, 4) boxes of the detections.
        found_labels: (d,)
        scores: (d,)
        iou_thr: What counts as overlap.

    Returns:
        For each object the index of the surest detection that belongs to it, or -1 (g,), and
        whether one with its own word overlaps it (g,).
    """
    surest, also = np.full(len(boxes), -1), np.zeros(len(boxes), bool)
    if not len(boxes) or not len(found):
        return surest, also
    ious = bbox_overlaps(found, boxes)
    near = ious >= iou_thr
    own = near & (found_labels[:, None] == labels)
    owner = np.where(own.any(1, keepdims=True), own, near) * ious  # of those, the IoU
    rows = np.argsort(scores, kind='stable')
    rows = rows[near[rows].any(axis=1)]
    surest[owner[rows].argmax(axis=1)] = rows  # the last, which is the surest, stays
    return surest, own.any(axis=0)


def judge_all(
    dataset: Dataset, detections: dict[str, np.ndarray], score_thr: float = 0.0
) -> Objects:
    """Judge every object of a dataset, but crowds.

    Args:
        dataset: An mmdet dataset in test mode.
        detections: As :func:`read_results` returns them.
        score_thr: Detections with a lower score are left out.

    Returns:
        The objects, image by image.
    """
    parts = []
    for index, info, rows in _by_image(dataset, detections):
        instances = [i for i in info['instances'] if not i['ignore_flag']]
        boxes = np.array([i['bbox'] for i in instances], np.float32).reshape(-1, 4)
        labels = np.array([i['bbox_label'] for i in instances], int)
        rows = rows[detections['score'][rows] >= score_thr]
        found, called, scores = (detections[key][rows] for key in ('box', 'label', 'score'))
        surest, also = judge(boxes, labels, found, called, scores)
        # A detection that stands for none, at index -1.
        called = np.append(called, MISSED)
        scores, found = np.append(scores, 0), np.concatenate([found, np.zeros((1, 4), np.float32)])
        image = np.full(len(boxes), index)
        parts.append((image, boxes, labels, called[surest], scores[surest], found[surest], also))
    return Objects(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _by_image(
    dataset: Dataset, detections: dict[str, np.ndarray]
) -> Iterator[tuple[int, dict, np.ndarray]]:
    """Index, annotations and rows of the detections of each image."""
    order = np.argsort(detections['image_id'], kind='stable')
    ids = detections['image_id'][order]
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        start, end = np.searchsorted(ids, [info['img_id'], info['img_id'] + 1])
        yield index, info, order[start:end]
