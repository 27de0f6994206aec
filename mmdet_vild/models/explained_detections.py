"""Detections, and on request whose score each has."""

from collections.abc import Mapping

from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.functional import pad

from mmdet_vild.options import CountOrZero, check_option

from .lazy_nms import lazy_detections
from .partial_objects import partial_objects
from .words import Words


def explained_detections(
    bboxes: Tensor,
    scores: Tensor,
    rcnn_test_cfg: ConfigType,
    words: Words,
    parts: Mapping[str, Tensor | None],
    others: Mapping[str, Tensor] | None = None,
) -> InstanceData:
    """NMS, and with ``explain=k`` in ``test_cfg.rcnn`` what each score is made of.

    Args:
        bboxes: (n, 4).
        scores: (n, C + R), without background; the first C words are detected.
        rcnn_test_cfg: ``test_cfg.rcnn``; ``explain`` is the number k of other words to name, and
            None or 0 explains nothing.
        words: The C words, and the R that compete with them.
        parts: What the scores are made of, such as ``text_scores``, ``image_scores`` and
            ``objectness``: (n, C + R) for each word, or (n,) for the region; None if not known.
        others: What else each region has, (n, ...), and its detections have in any case.

    Two more settings of ``test_cfg.rcnn`` change what NMS has found; without them it stays so:

    - ``objectness_weight=w`` makes a score s, with the objectness o of its region, s^(1 - w) o^w;
      CLIP on cropped regions has w = 0.5 (ViLD, Sec. 3.1);
    - ``partial=dict(overlap=0.9, score_ratio=0.5)`` drops :func:`partial_objects`.

    Raises:
        ValueError: ``explain`` is no number of words, or no objectness is known.

    Returns:
        m detections with ``bboxes`` (m, 4), ``scores`` (m,) and ``labels`` (m,). With ``explain``
        also the parts of their scores that are known, (m,); and ``other_scores`` (m, k), the
        highest of other words for the same region, descending, with ``other_names``, a list of k
        words for each, and ``other_novel`` (m, k) bool; fewer where there are fewer words.
    """
    explain = rcnn_test_cfg.get('explain')
    check_option(explain, CountOrZero | None, 'explain in test_cfg.rcnn')
    # It expects a last column for background, and ignores it.
    detected = pad(scores[:, : words.count], (0, 1))
    found, indices = lazy_detections(bboxes, detected, rcnn_test_cfg)
    found, indices = _rescored(found, indices, rcnn_test_cfg, words.count, parts.get('objectness'))
    rows, labels = indices // words.count, found.labels
    for field, values in (others or {}).items():
        found.set_field(values[rows], field)
    if not explain:
        return found
    for field, part in parts.items():
        if part is not None:
            found.set_field(part[rows] if part.ndim == 1 else part[rows, labels], field)
    others = scores[rows]
    if weight := rcnn_test_cfg.get('objectness_weight'):
        others = _with_objectness(others, parts['objectness'][rows, None], weight)
    others = others.scatter(1, labels[:, None], -1.0)
    found.other_scores, other_labels = others.topk(min(explain, scores.shape[1] - 1), dim=1)
    found.other_names = [[words.names[label] for label in row] for row in other_labels.tolist()]
    found.other_novel = words.novel[other_labels]
    return found


def _rescored(
    found: InstanceData,
    indices: Tensor,
    rcnn_test_cfg: ConfigType,
    count: int,
    objectness: Tensor | None,
) -> tuple[InstanceData, Tensor]:
    """Detections, and their indices, with scores of objectness and without partial objects."""
    weight, partial = rcnn_test_cfg.get('objectness_weight'), rcnn_test_cfg.get('partial')
    if not weight and not partial:
        return found, indices
    scores, kept = found.scores, None
    if weight:
        if objectness is None:
            raise ValueError(
                f'objectness_weight in test_cfg.rcnn is {weight}, but the proposals have no '
                'scores; leave it out'
            )
        scores = _with_objectness(scores, objectness[indices // count], weight)
        found.scores = scores
        kept = scores.argsort(descending=True, stable=True)
    if partial:
        whole = ~partial_objects(found.bboxes, scores, found.labels, **partial)
        kept = whole if kept is None else kept[whole[kept]]
    return found[kept], indices[kept]


def _with_objectness(scores: Tensor, objectness: Tensor, weight: float) -> Tensor:
    return scores ** (1 - weight) * objectness.to(scores) ** weight
