# ViLD-ensemble with all that later papers add to its training (docs/vild_plus.md), on the regions
# that vild-plus-text proposes.
_base_ = './vild-oln_lite0_fpn_mini-lvis.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            type='ViLDEnsembleBBoxHead',
            ensemble_weight=0.83,
            cls_predictor_cfg=dict(with_background=False, bias=-10.0, learned_temperature=True),
            loss_cls=dict(use_sigmoid=True),
            loss_iou=dict(type='LocalisationQualityLoss'),
        ),
    ),
)
