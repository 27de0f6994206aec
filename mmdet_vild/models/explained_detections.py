"""Detections, and on request whose score each has."""

from collections.abc import Mapping, Sequence

from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.functional import pad

from .lazy_nms import lazy_detections


def explained_detections(
    bboxes: Tensor,
    scores: Tensor,
    rcnn_test_cfg: ConfigType,
    names: Sequence[str],
    parts: Mapping[str, Tensor | None],
) -> InstanceData:
    """NMS, and with ``explain=k`` in ``test_cfg.rcnn`` what each score is made of.

    Args:
        bboxes: (n, 4).
        scores: (n, C), without background.
        rcnn_test_cfg: ``test_cfg.rcnn``; ``explain`` is the number k of other words to name, and
            None or 0 explains nothing.
        names: The C words.
        parts: What the scores are made of, by the names of the fields below: (n, C) for each
            word, or (n,) for the region; None for what is not known.

    Returns:
        m detections with ``bboxes`` (m, 4), ``scores`` (m,) and ``labels`` (m,). With
        ``explain``, those of these that the detector has:

        - ``text_scores`` (m,), the probability that the text branch gives the label;
        - ``image_scores`` (m,), that of the image branch or the teacher;
        - ``objectness`` (m,), the RPN's score of the proposal;

        and always ``other_scores`` (m, k), the highest scores of other words for the same region,
        descending, and ``other_names``, a list of k words for each; fewer where there are fewer
        words.
    """
    # It expects a last column for background, and ignores it.
    found, indices = lazy_detections(bboxes, pad(scores, (0, 1)), rcnn_test_cfg)
    if not rcnn_test_cfg.get('explain'):
        return found
    rows, labels = indices // scores.shape[1], found.labels
    for field, part in parts.items():
        if part is not None:
            found.set_field(part[rows] if part.ndim == 1 else part[rows, labels], field)
    others = scores[rows].scatter(1, labels[:, None], -1.0)
    count = min(rcnn_test_cfg.explain, scores.shape[1] - 1)
    found.other_scores, other_labels = others.topk(count, dim=1)
    found.other_names = [[names[label] for label in row] for row in other_labels.tolist()]
    return found
