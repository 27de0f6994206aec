"""Per-class NMS that looks no further than the best detections need."""

import torch
from mmdet.models.layers import multiclass_nms
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import nms

#: Candidates to begin with, for each detection wanted; so many times more where too few are left.
FACTOR = 4
#: From so many candidates on, each class is suppressed by itself: the time grows with the square.
SPLIT = 5000


def lazy_multiclass_nms(
    multi_bboxes: Tensor,
    multi_scores: Tensor,
    score_thr: float,
    nms_cfg: ConfigType,
    max_num: int = -1,
    return_inds: bool = False,
) -> tuple[Tensor, ...]:
    """The detections of :func:`mmdet.models.layers.multiclass_nms`, without suppressing the rest.

    A detection is suppressed by one of a higher score only. So the best ``max_num`` of all are the
    best ``max_num`` among those above a score, if so many are left above it: with a threshold of
    zero, a thousandth of LVIS's 1.2 million candidates. Where too few are left, more are looked
    at, and many of them class by class. Of those that tie for the last place, others may be left
    out than mmdet leaves out.

    ``type='tf_nms'`` is the NMS of the authors' TensorFlow implementation: boxes are not rounded by
    being moved to a place of each class, and one whose corners are swapped, as
    :class:`TFDeltaXYWHBBoxCoder` gives some, counts as what it covers.

    Args:
        multi_bboxes: (n, 4), or (n, C * 4).
        multi_scores: (n, C + 1), the last column for background, which is ignored.
        score_thr: Detections of this score and less are not considered.
        nms_cfg: As mmdet's, or ``type='tf_nms'`` with an ``iou_threshold``. Anything but these and
            ``type='nms'`` with an ``iou_threshold`` is left to mmdet's.
        max_num: How many detections at the most; -1 for all.
        return_inds: Whether to return where the detections come from, as mmdet's does.

    Raises:
        ValueError: ``'tf_nms'`` is given anything but an ``iou_threshold``.

    Returns:
        Boxes with scores (k, 5), in descending order of the scores, and labels (k,); with
        ``return_inds`` also their indices (k,) in the n * C scores.
    """
    kind = None if nms_cfg is None else nms_cfg.get('type', 'nms')
    others = nms_cfg is None or set(nms_cfg) - {'type', 'iou_threshold'}
    if kind == 'tf_nms':
        if others or 'iou_threshold' not in nms_cfg:
            raise ValueError(f"'tf_nms' takes an iou_threshold and nothing else, found {nms_cfg}")
        max_num = max_num if max_num > 0 else multi_scores[:, :-1].numel()
    elif max_num < 1 or others or kind != 'nms':
        arguments = (multi_bboxes, multi_scores, score_thr, nms_cfg, max_num)
        return multiclass_nms(*arguments, return_inds=return_inds)
    num_classes = multi_scores.size(1) - 1
    scores = multi_scores[:, :-1].flatten()
    boxes = multi_bboxes.reshape(len(multi_bboxes), multi_bboxes.size(1) // 4, 4)
    valid = multi_scores[:, :-1] > score_thr
    if not len(scores):
        none = scores.new_zeros(0, dtype=torch.long)
        return (multi_bboxes.new_zeros(0, 5), none, none)[: 2 + return_inds]
    # mmdet moves each class to a place of its own, which rounds boxes; so they are moved alike.
    # Without a mask as an index, whose size the host would have to ask a GPU for.
    used = valid.any(dim=1, keepdim=True) if boxes.size(1) == 1 else valid
    stride = boxes.amax(dim=2).masked_fill(~used, -torch.inf).max() + 1
    if kind == 'tf_nms':
        stride = stride.double()  # which does not round them
    count = FACTOR * max_num
    while True:
        # In mmdet's order, which decides between equal scores.
        if complete := count >= len(scores):
            indices = valid.flatten().nonzero().flatten()
        else:
            best, indices = scores.topk(count + 1)
            # Others may be as good as the last, unless that is the last of all.
            limit = best[-1].clamp(min=score_thr)
            parts = (best[-1] <= score_thr, best.isnan().sum(), (best > limit).sum())
            complete, first, many = torch.stack(parts).tolist()  # a GPU is asked once
            indices = indices[first : first + many].sort().values
        rows, labels = indices // num_classes, indices % num_classes
        found = boxes[rows, labels if boxes.size(1) > 1 else torch.zeros_like(labels)]
        best = scores[indices]
        corners = found
        if kind == 'tf_nms':
            first, second = found[:, :2], found[:, 2:]
            corners = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], 1)
        moved = corners + (labels.to(stride) * stride)[:, None]
        keep = _nms_of_classes(moved, best.to(moved), labels, nms_cfg['iou_threshold'])[:max_num]
        if complete or len(keep) == max_num:
            dets = torch.cat([found[keep], best[keep, None]], dim=1)
            return (dets, labels[keep], indices[keep])[: 2 + return_inds]
        count *= FACTOR


def _nms_of_classes(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """NMS of boxes that overlap within a class only: indices, in descending order of the scores."""
    if len(boxes) < SPLIT:
        return nms(boxes, scores, iou_threshold)
    classes = labels.argsort(stable=True).split(labels.bincount().tolist())
    kept = [rows[nms(boxes[rows], scores[rows], iou_threshold)] for rows in classes if len(rows)]
    keep = torch.cat(kept).sort().values
    return keep[scores[keep].argsort(descending=True, stable=True)]


def lazy_detections(
    multi_bboxes: Tensor, multi_scores: Tensor, rcnn_test_cfg: ConfigType
) -> tuple[InstanceData, Tensor]:
    """What :func:`lazy_multiclass_nms` finds with the settings of ``test_cfg.rcnn``.

    Returns:
        k detections, and their indices (k,) in the n * C scores.
    """
    cfg = rcnn_test_cfg
    dets, labels, indices = lazy_multiclass_nms(
        multi_bboxes, multi_scores, cfg.score_thr, cfg.nms, cfg.max_per_img, return_inds=True
    )
    return InstanceData(bboxes=dets[:, :4], scores=dets[:, 4], labels=labels), indices
