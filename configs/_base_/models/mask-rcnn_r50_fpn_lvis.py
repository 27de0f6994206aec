# Mask R-CNN with a learned classifier of LVIS's categories, otherwise as ViLD has it: the same
# network and bbox head, class-agnostic boxes and masks.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
custom_imports = dict(imports=['mmdet_vild'], allow_failed_imports=False)

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(frozen_stages=-1),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        type='LazyNMSRoIHead',
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=4,
            num_shared_fcs=1,
            norm_cfg=norm_cfg,
            num_classes=1203,
            reg_class_agnostic=True,
        ),
        mask_head=dict(num_classes=1203, class_agnostic=True),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=300)),
)
