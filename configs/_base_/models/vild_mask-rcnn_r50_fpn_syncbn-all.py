# The paper's network, to be trained from scratch at 1024x1024: 4 convs and 2 FCs; norms everywhere
# but in the RPN's two convs and the mask head's deconvolution, which MMDetection has without.
_base_ = './vild_mask-rcnn_r50_fpn.py'

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
            num_shared_fcs=2,
            norm_cfg=norm_cfg,
            fc_norm_cfg=norm_cfg,
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0),
        ),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
