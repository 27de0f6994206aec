# Mask R-CNN small enough to learn on two cores: EfficientNet-Lite0, whose last two stages learn and
# whose others stay ImageNet's, feature maps of strides 8 to 64, small heads. Boxes and masks are
# class-agnostic, as ViLD's are.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
custom_imports = dict(imports=['mmdet_vild'], allow_failed_imports=False)

channels = 96
strides = [8, 16, 32]
model = dict(
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='tf_efficientnet_lite0',
        out_indices=(2, 3, 4),
        frozen=('conv_stem', 'bn1', *[f'blocks.{i}' for i in range(5)]),
        init_cfg=dict(
            type='Pretrained', checkpoint='{{$MINI_LVIS:data/mini_lvis}}/vild/imagenet.pth'
        ),
    ),
    neck=dict(
        in_channels=[40, 112, 320], out_channels=channels, num_outs=4, norm_cfg=dict(type='BN')
    ),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[4, 5.66], ratios=[1.0], strides=[*strides, 64]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            out_channels=channels,
            featmap_strides=strides,
            finest_scale=28,
            roi_layer=dict(sampling_ratio=1),
        ),
        bbox_head=dict(
            # A norm before the classifier and a cosine in it, as ViLD's head has both: without them
            # it hardly learns in so few iterations.
            type='ConvFCBBoxHead',
            num_shared_convs=1,
            num_shared_fcs=1,
            norm_cfg=dict(type='BN'),
            cls_predictor_cfg=dict(type='NormedLinear'),
            in_channels=channels,
            conv_out_channels=channels,
            fc_out_channels=384,
            num_classes=227,
            reg_class_agnostic=True,
            loss_bbox=dict(loss_weight=2.0),
        ),
        mask_roi_extractor=dict(
            out_channels=channels,
            featmap_strides=strides,
            finest_scale=28,
            roi_layer=dict(sampling_ratio=1, output_size=10),
        ),
        mask_head=dict(
            num_convs=1,
            roi_feat_size=10,
            in_channels=channels,
            conv_out_channels=32,
            num_classes=227,
            class_agnostic=True,
            norm_cfg=dict(type='BN'),
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=60),
        rcnn=dict(mask_size=20, sampler=dict(num=32, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100), rcnn=dict(score_thr=0.0, max_per_img=50)),
)
