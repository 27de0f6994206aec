"""Detections of a part of what another detection has whole."""

import numpy as np
import torch
from torch import Tensor

from mmdet_vild.options import Fraction, NotNegative


def partial_objects(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    overlap: Fraction,
    score_ratio: NotNegative = 0.0,
) -> Tensor:
    """Which detections lie for the most part inside a larger one of their class.

    NMS by IoU keeps them, for a small box inside a large one has a small IoU; and a crop of a part
    of an object is, to CLIP, often as much that object as the whole is. The measure is the
    intersection over the smaller box's own area, as COCO has it for crowds; the rule is our own.
    What is itself a part has no parts. The order of the detections does not matter.

    Args:
        boxes: (n, 4).
        scores: (n,).
        labels: (n,).
        overlap: A part has more than this fraction of its area inside the larger one.
        score_ratio: The larger one has at least so many times its score; 0 lets any do.

    Returns:
        (n,) bool.
    """
    device = boxes.device
    # On the host, where so few numbers take a tenth of a millisecond.
    boxes, scores, labels = (each.detach().cpu().numpy() for each in (boxes, scores, labels))
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    areas = sides[:, 0] * sides[:, 1]
    order = np.lexsort((-areas, labels))
    small, large = (order[each] for each in pairs_of_a_class(labels[order]))
    one, other = boxes[small], boxes[large]
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    sides = np.maximum(sides, 0)
    inside = (sides[:, 0] * sides[:, 1] > overlap * areas[small]).nonzero()[0]
    small, large = small[inside], large[inside]
    takes = (areas[large] > areas[small]) & (scores[large] >= score_ratio * scores[small])
    found = np.zeros(len(boxes), bool)
    # What is larger than a detection is decided before it.
    for part, whole in zip(small[takes].tolist(), large[takes].tolist(), strict=True):
        found[part] |= not found[whole]
    return torch.from_numpy(found).to(device)


def pairs_of_a_class(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs i > j of equal labels (n,), which are sorted: i and j, (p,) int64, i ascending.

    Of 300 detections of many classes these are few, and a matrix of all pairs takes longer.
    """
    places = np.arange(len(labels))
    begins = np.ones(len(labels), bool)
    begins[1:] = labels[1:] != labels[:-1]
    first = np.maximum.accumulate(places * begins)  # of the class of each
    before = places - first
    # The pairs of each count on from the first of its class.
    offsets = before.cumsum() - before - first
    return places.repeat(before), np.arange(before.sum()) - offsets.repeat(before)
