"""Detections, and on request whose score each has."""

from collections.abc import Mapping

from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.functional import pad

from mmdet_vild.options import CountOrZero, check_option

from .nms import lazy_detections
from .words import Words


def explained_detections(
    bboxes: Tensor,
    scores: Tensor,
    rcnn_test_cfg: ConfigType,
    words: Words,
    parts: Mapping[str, Tensor | None],
) -> InstanceData:
    """NMS, and with ``explain=k`` in ``test_cfg.rcnn`` what each score is made of.

    Args:
        bboxes: (n, 4).
        scores: (n, C + R), without background; the first C words are detected.
        rcnn_test_cfg: ``test_cfg.rcnn``; ``explain`` is the number k of other words to name, and
            None or 0 explains nothing.
        words: The C words, and the R that compete with them.
        parts: What the scores are made of, by the names of the fields below: (n, C + R) for each
            word, or (n,) for the region; None for what is not known.

    Raises:
        ValueError: ``explain`` is no number of words.

    Returns:
        m detections with ``bboxes`` (m, 4), ``scores`` (m,) and ``labels`` (m,). With
        ``explain``, those of these that the detector has:

        - ``text_scores`` (m,), the probability that the text branch gives the label;
        - ``image_scores`` (m,), that of the image branch or the teacher;
        - ``objectness`` (m,), the RPN's score of the proposal;

        and always ``other_scores`` (m, k), the highest scores of other words for the same region,
        descending, those included that only compete; ``other_names``, a list of k words for each,
        and ``other_novel`` (m, k) bool; fewer where there are fewer words.
    """
    explain = rcnn_test_cfg.get('explain')
    check_option(explain, CountOrZero | None, 'explain in test_cfg.rcnn')
    # It expects a last column for background, and ignores it.
    detected = pad(scores[:, : words.count], (0, 1))
    found, indices = lazy_detections(bboxes, detected, rcnn_test_cfg)
    if not explain:
        return found
    rows, labels = indices // words.count, found.labels
    for field, part in parts.items():
        if part is not None:
            found.set_field(part[rows] if part.ndim == 1 else part[rows, labels], field)
    others = scores[rows].scatter(1, labels[:, None], -1.0)
    found.other_scores, other_labels = others.topk(min(explain, scores.shape[1] - 1), dim=1)
    found.other_names = [[words.names[label] for label in row] for row in other_labels.tolist()]
    found.other_novel = words.novel[other_labels]
    return found
