# The paper's network, to be trained from scratch at 1024x1024: norms everywhere but in the RPN's
# two convs and the mask head's deconvolution, which MMDetection has without.
_base_ = './vild_mask-rcnn_r50_fpn.py'

norm_cfg = dict(type='SyncBN', momentum=0.003, eps=1e-4, requires_grad=True)
model = dict(
    data_preprocessor=dict(
        batch_augments=[dict(type='BatchFixedSizePad', size=(1024, 1024), pad_mask=True)]
    ),
    backbone=dict(frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, init_cfg=None),
    neck=dict(norm_cfg=norm_cfg),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=dict(norm_cfg=norm_cfg, fc_norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)
    ),
)
