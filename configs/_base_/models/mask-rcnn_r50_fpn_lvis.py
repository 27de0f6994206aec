# Mask R-CNN with a learned classifier of LVIS's categories, otherwise as ViLD has it: the same
# bbox head, class-agnostic boxes and masks.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
custom_imports = dict(imports=['mmdet_vild'], allow_failed_imports=False)

model = dict(
    roi_head=dict(
        type='LazyNMSRoIHead',
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=4,
            num_shared_fcs=2,
            num_classes=1203,
            reg_class_agnostic=True,
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
        ),
        mask_head=dict(num_classes=1203, class_agnostic=True),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=300)),
)
