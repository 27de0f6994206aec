"""Per-class NMS that looks no further than the best detections need."""

from mmdet.models.layers import multiclass_nms
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

#: Candidates to begin with, for each detection wanted; as many times more whenever too few are
#: left.
FACTOR = 4


def lazy_multiclass_nms(
    multi_bboxes: Tensor,
    multi_scores: Tensor,
    score_thr: float,
    nms_cfg: ConfigType,
    max_num: int = -1,
) -> tuple[Tensor, Tensor]:
    """The detections of :func:`mmdet.models.layers.multiclass_nms`, without suppressing the rest.

    A detection is suppressed by one of a higher score only. So the best ``max_num`` of all are the
    best ``max_num`` among those above a score, if so many are left above it. With a threshold of
    zero and 1203 categories that is a thousandth of the 1.2 million candidates. Detections of
    equal scores come in any order, as in mmdet's.

    Args:
        multi_bboxes: (n, 4), or (n, C * 4).
        multi_scores: (n, C + 1), the last column for background, which is ignored.
        score_thr: Detections of this score and less are not considered.
        nms_cfg: As mmdet's. Types other than ``'nms'``, which may change scores, are mmdet's.
        max_num: How many detections at the most; -1 for all, which takes as long as mmdet's.

    Returns:
        Boxes with scores (k, 5), in descending order of the scores, and labels (k,).
    """
    count = FACTOR * max_num
    if max_num > 0 and nms_cfg is not None and nms_cfg.get('type', 'nms') == 'nms':
        scores = multi_scores[:, :-1].flatten()
        while count < scores.numel():
            lowest = scores.topk(count + 1).values[-1].item()
            if lowest <= score_thr:
                break
            dets, labels = multiclass_nms(multi_bboxes, multi_scores, lowest, nms_cfg, max_num)
            if len(dets) == max_num:
                return dets, labels
            count *= FACTOR
    return multiclass_nms(multi_bboxes, multi_scores, score_thr, nms_cfg, max_num)


def lazy_detections(
    multi_bboxes: Tensor, multi_scores: Tensor, rcnn_test_cfg: ConfigType
) -> InstanceData:
    """What :func:`lazy_multiclass_nms` finds with the settings of ``test_cfg.rcnn``."""
    dets, labels = lazy_multiclass_nms(
        multi_bboxes,
        multi_scores,
        rcnn_test_cfg.score_thr,
        rcnn_test_cfg.nms,
        rcnn_test_cfg.max_per_img,
    )
    return InstanceData(bboxes=dets[:, :4], scores=dets[:, 4], labels=labels)


@MODELS.register_module()
class LazyNMSRoIHead(StandardRoIHead):
    """mmdet's standard RoI head, with :func:`lazy_multiclass_nms` for any bbox head.

    :class:`ViLDBBoxHead` has it without this.
    """

    def predict_bbox(
        self,
        x: tuple[Tensor],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType | None,
        rescale: bool = False,
    ) -> InstanceList:
        """As :meth:`mmdet.models.roi_heads.StandardRoIHead.predict_bbox`."""
        arguments = (x, batch_img_metas, rpn_results_list)
        if rcnn_test_cfg is None or not sum(map(len, rpn_results_list)):
            return super().predict_bbox(*arguments, rcnn_test_cfg, rescale)
        results = super().predict_bbox(*arguments, None, rescale)
        return [lazy_detections(r.bboxes, r.scores, rcnn_test_cfg) for r in results]
