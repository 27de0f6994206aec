"""Test-time augmentation that keeps the words and the masks of detections."""

from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip
from mmengine.structures import InstanceData

from mmdet_vild.options import checked_options

from ..partial_objects import partial_objects

#: The dimensions of masks (n, h, w) that a flip turns.
FLIPPED_DIMS = {'horizontal': [2], 'vertical': [1], 'diagonal': [1, 2]}


@MODELS.register_module()
@checked_options
class OpenVocabularyTTA(DetTTAModel):
    """mmdet's ``DetTTAModel`` for the detectors here, and for any of mmdet's with masks.

    The boxes of all views of an image, the original and the flipped one for instance, go through
    one more NMS, and the suppression of partial objects, if the detector's ``test_cfg.rcnn`` has
    it. A detection that is kept keeps all that its view found: mmdet's ``labels``, ``scores`` and
    ``masks``, and ``label_names`` and ``novel``. Masks are not averaged.

    Args:
        tta_cfg: ``nms`` and ``max_per_img``, of which -1 is no limit; default are those of the
            detector's ``test_cfg.rcnn``.
        **kwargs: ``module``, the detector, and others of :class:`DetTTAModel`.

    Raises:
        ValueError: The model finds no regions, and there is no ``tta_cfg``.
    """

    def __init__(self, tta_cfg: dict | None = None, **kwargs) -> None:
        super().__init__(tta_cfg=tta_cfg, **kwargs)
        cfg = (getattr(self.module, 'test_cfg', None) or {}).get('rcnn')
        if tta_cfg is None:
            if cfg is None:
                raise ValueError(
                    f'--tta merges the boxes of regions, and {type(self.module).__name__} has no '
                    'test_cfg.rcnn; leave --tta out'
                )
            nms = dict(type='nms', iou_threshold=cfg.nms.iou_threshold)
            self.tta_cfg = dict(nms=nms, max_per_img=cfg.max_per_img)
        self.partial = (cfg or {}).get('partial')

    def _merge_single_sample(self, data_samples: list[DetDataSample]) -> DetDataSample:
        for sample in data_samples:
            if sample.get('flip'):  # back to the original image
                found, direction = sample.pred_instances, sample.flip_direction
                found.bboxes = bbox_flip(found.bboxes, sample.ori_shape, direction)
                if 'masks' in found:
                    found.masks = found.masks.flip(FLIPPED_DIMS[direction])
        found = InstanceData.cat([sample.pred_instances for sample in data_samples])
        if len(found):
            boxes, keep = batched_nms(found.bboxes, found.scores, found.labels, self.tta_cfg['nms'])
            if self.partial:
                labels = found.labels[keep]
                whole = ~partial_objects(boxes[:, :4], boxes[:, 4], labels, **self.partial)
                boxes, keep = boxes[whole], keep[whole]
            # The host waits for a GPU once, and not for each element of a list.
            kept = keep.tolist()
            lists = {k: found.pop(k) for k, v in list(found.items()) if isinstance(v, list)}
            found = found[keep]
            found.scores = boxes[:, 4]
            for key, values in lists.items():
                found.set_field([values[i] for i in kept], key)
        limit = self.tta_cfg['max_per_img']
        data_samples[0].pred_instances = found[:limit] if limit >= 0 else found
        return data_samples[0]
