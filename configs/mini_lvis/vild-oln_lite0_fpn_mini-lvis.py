# ViLD with an RPN that learns how well regions are localised (OLN), on the regions that
# vild-plus-text proposes.
_base_ = './vild_lite0_fpn_mini-lvis.py'

model = dict(
    rpn_head=dict(
        type='OLNRPNHead',
        loss_cls=dict(_delete_=True, type='LocalisationQualityLoss'),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(pos_iou_thr=0.3, neg_iou_thr=0.1),
            sampler=dict(pos_fraction=1.0, neg_pos_ub=0),
        ),
    ),
)
train_pipeline = _base_.train_pipeline
train_pipeline[-2].store.path = _base_.data_root + 'vild/oln/regions'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
