# ViLD-text on OV-COCO with an RPN that learns how well regions are localised (OLN). It proposes the
# regions of ViLD+, by region-embeddings_r50_fpn_ov-coco.py on its checkpoint.
_base_ = './vild-text_r50_fpn_1x_ov-coco.py'

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
