# The paper's network with a learned classifier; see vild_mask-rcnn_r50_fpn_syncbn-all.py.
# MMDetection's bbox head has no norms after its FCs, as ViLD's has.
_base_ = './mask-rcnn_r50_fpn_lvis.py'

norm_cfg = dict(type='SyncBN', momentum=0.003, eps=1e-4, requires_grad=True)
model = dict(
    data_preprocessor=dict(
        batch_augments=[dict(type='BatchFixedSizePad', size=(1024, 1024), pad_mask=True)]
    ),
    backbone=dict(norm_cfg=norm_cfg, norm_eval=False, init_cfg=None),
    neck=dict(norm_cfg=norm_cfg),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(
            num_shared_fcs=2, norm_cfg=norm_cfg, loss_bbox=dict(type='SmoothL1Loss', beta=1.0)
        ),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
