# Mask R-CNN small enough to learn on two cores: EfficientNet-Lite0 with ImageNet weights, a narrow
# FPN and small heads. Boxes and masks are class-agnostic, as ViLD's are.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
custom_imports = dict(imports=['mmdet_vild'], allow_failed_imports=False)

channels = 48
model = dict(
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='tf_efficientnet_lite0',
        init_cfg=dict(
            type='Pretrained', checkpoint='{{$MINI_LVIS:data/mini_lvis}}/vild/imagenet.pth'
        ),
    ),
    neck=dict(in_channels=[24, 40, 112, 320], out_channels=channels, norm_cfg=dict(type='BN')),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[6, 8.5], ratios=[1.0]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels, roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=1,
            num_shared_fcs=2,
            in_channels=channels,
            conv_out_channels=channels,
            fc_out_channels=384,
            norm_cfg=dict(type='BN'),
            num_classes=294,
            reg_class_agnostic=True,
            loss_bbox=dict(loss_weight=2.0),
        ),
        mask_roi_extractor=dict(out_channels=channels, roi_layer=dict(sampling_ratio=1)),
        mask_head=dict(
            num_convs=1,
            in_channels=channels,
            conv_out_channels=16,
            num_classes=294,
            class_agnostic=True,
            norm_cfg=dict(type='BN'),
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=60),
        rcnn=dict(sampler=dict(num=48)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100), rcnn=dict(score_thr=0.0, max_per_img=50)),
)
