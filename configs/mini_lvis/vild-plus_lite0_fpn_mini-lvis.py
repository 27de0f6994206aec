# ViLD+: ViLD-ensemble with what helps it here of what later papers add, chosen on val
# (docs/vild_plus.md): the IoU, and some objectness, in the score.
_base_ = './vild-ensemble_lite0_fpn_mini-lvis.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(loss_iou=dict(type='LocalisationQualityLoss'), iou_weight=0.65),
    ),
    test_cfg=dict(rcnn=dict(objectness_weight=0.1)),
)
