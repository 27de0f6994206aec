# ViLD-ensemble with what later papers add (docs/vild_plus.md): an RPN that learns how well regions
# are localised (OLN), a sigmoid of each word in place of the softmax (LP-OVOD), and the IoU of a
# region in its scores (OLN). Its numbers are the papers'; we have tuned none of them.
_base_ = './vild_mask-rcnn_r50_fpn.py'

model = dict(
    rpn_head=dict(
        type='OLNRPNHead',
        loss_cls=dict(_delete_=True, type='LocalisationQualityLoss'),
    ),
    roi_head=dict(
        bbox_head=dict(
            type='ViLDEnsembleBBoxHead',
            ensemble_weight=2 / 3,
            cls_predictor_cfg=dict(with_background=False, bias=-10.0, learned_temperature=True),
            loss_cls=dict(use_sigmoid=True),
            loss_iou=dict(type='LocalisationQualityLoss'),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(pos_iou_thr=0.3, neg_iou_thr=0.1),
            sampler=dict(pos_fraction=1.0, neg_pos_ub=0),
        ),
    ),
)
