# ViLD-text with an RPN that learns how well regions are localised (OLN). It proposes the regions of
# vild-oln and vild-all, by region-embeddings_lite0_fpn_mini-lvis.py on its checkpoint.
_base_ = './vild-text_lite0_fpn_mini-lvis.py'

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
