"""An RPN that scores regions by how well they are localised."""

from typing import Literal

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS

from mmdet_vild.options import checked_options

from ..losses import localisation_quality, quality_loss


@MODELS.register_module()
@checked_options
class OLNRPNHead(RPNHead):
    """mmdet's RPN head, which predicts an anchor's localisation quality in place of foreground.

    (OLN, Kim et al., "Learning Open-World Object Proposals without Learning to Classify", RA-L
    2022.) It learns of anchors on annotated objects alone. A foreground classifier has
    all else as negatives, so that the objects that nobody annotated are taught to be background.

    Its ``train_cfg.rpn`` must take anchors that overlap an object somewhat, and no negatives::

        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.3, neg_iou_thr=0.1, min_pos_iou=0.3),
        sampler=dict(type='RandomSampler', num=256, pos_fraction=1.0, neg_pos_ub=0)

    OLN regresses the distances of an anchor's centre to the sides, with an IoU loss, of anchors
    that it assigns apart; here ``bbox_coder``, ``loss_bbox`` and the anchors are those of the
    config.

    Args:
        quality: What is predicted: the ``'centerness'`` of the anchor's centre in the object, as in
            OLN, or the anchor's ``'iou'`` with it.
        loss_cls: Config of :class:`LocalisationQualityLoss`.
        **kwargs: As :class:`mmdet.models.dense_heads.RPNHead`.

    Raises:
        TypeError: The loss is another.
        ValueError: The sampler of ``train_cfg`` draws negatives.
    """

    def __init__(
        self, quality: Literal['centerness', 'iou'] = 'centerness', loss_cls: dict | None = None,
        **kwargs,
    ) -> None:  # fmt: skip
        loss_cls = loss_cls or dict(type='LocalisationQualityLoss')
        quality_loss(loss_cls, 'loss_cls of OLNRPNHead')
        super().__init__(loss_cls=dict(loss_cls, use_sigmoid=True), **kwargs)
        self.quality = quality
        sampler = (self.train_cfg or {}).get('sampler')
        wanted = dict(neg_pos_ub=0, pos_fraction=1)
        if self.train_cfg and wanted != {key: (sampler or {}).get(key) for key in wanted}:
            raise ValueError(
                f'OLNRPNHead learns of no negatives, but the sampler of train_cfg.rpn is {sampler};'
                ' set its neg_pos_ub=0 and pos_fraction=1.0'
            )

    def _get_targets_single(self, *args, **kwargs) -> tuple:
        """mmdet's, with the quality of each positive anchor as its label."""
        labels, weights, *rest, sampled = super()._get_targets_single(*args, **kwargs)
        objects = labels != self.num_classes
        found = localisation_quality(sampled.pos_priors, sampled.pos_gt_bboxes, self.quality)
        # Both are in the order of the anchors. A mask as an index would let the host wait.
        found = torch.cat([found.to(weights), weights.new_zeros(1)])
        qualities = torch.where(objects, found[objects.cumsum(0) - 1], 0)
        return qualities, weights * objects, *rest, sampled
