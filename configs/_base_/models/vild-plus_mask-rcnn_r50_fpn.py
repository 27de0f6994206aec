# ViLD-ensemble with what later papers add (docs/vild_plus.md): an RPN that learns how well regions
# are localised (OLN), a sigmoid of each word in place of the softmax (LP-OVOD), the IoU of a region
# in its scores (OLN), and no detections of parts of what is detected whole. The numbers of the last
# lines are where to start from; we have tuned none of them.
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
    test_cfg=dict(rcnn=dict(partial=dict(overlap=0.8, score_ratio=0.5))),
)
