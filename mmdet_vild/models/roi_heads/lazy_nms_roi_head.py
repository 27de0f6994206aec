"""mmdet's RoI head with the NMS of ``lazy_nms.py``."""

from mmdet.models.roi_heads import StandardRoIHead
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, InstanceList
from torch import Tensor

from mmdet_vild.options import checked_options

from ..lazy_nms import lazy_detections


@MODELS.register_module()
@checked_options
class LazyNMSRoIHead(StandardRoIHead):
    """mmdet's standard RoI head, with :func:`lazy_detections` for any bbox head.

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
        return [lazy_detections(r.bboxes, r.scores, rcnn_test_cfg)[0] for r in results]
