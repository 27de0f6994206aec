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
    intersection over the smaller box's own area, as COCO has it for crowds. What is itself a part
    has no parts. The order of the detections does not matter.

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
    small, large = pairs_of_a_class(labels)
    larger = areas[small] < areas[large]
    small, large = small[larger], large[larger]
    one, other = boxes[small], boxes[large]
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    sides = np.maximum(sides, 0)
    inside = sides[:, 0] * sides[:, 1] > overlap * areas[small]
    inside &= scores[large] >= score_ratio * scores[small]
    small, large = small[inside], large[inside]
    found = np.zeros(len(boxes), bool)
    # The largest come first: what is larger than a detection is decided before it.
    for i in areas[small].argsort()[::-1].tolist():
        found[small[i]] |= not found[large[i]]
    return torch.from_numpy(found).to(device)


def pairs_of_a_class(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (i, j), also i = j, of equal labels (n,): two (p,) int64.

    Of 300 detections of many classes these are few, and a matrix of all pairs takes longer.
    """
    order = labels.argsort(kind='stable')
    _, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
    sizes = counts.repeat(counts)  # of the class of each, in that order
    # Each is paired with all of its class, from the first on.
    offsets = first.repeat(counts) - sizes.cumsum() + sizes
    others = np.arange(sizes.sum()) + offsets.repeat(sizes)
    return order.repeat(sizes), order[others]
