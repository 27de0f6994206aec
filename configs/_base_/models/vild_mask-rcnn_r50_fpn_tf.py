# The authors' network, as their released weights need it: norms everywhere, those of the RPN for
# each level; TensorFlow's 'SAME' padding; boxes whose width is x2 - x1 + 1; RoIs from P2 to P6.
_base_ = './vild_mask-rcnn_r50_fpn_syncbn-all.py'

norm_cfg = _base_.norm_cfg
strides = [4, 8, 16, 32, 64]
# A compiled mmcv's own RoIAlign refuses boxes with swapped corners on a CPU.
roi_layer = dict(sampling_ratio=1, use_torchvision=True)
model = dict(
    # Images are padded when they are normalised already, so with zeros.
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(type='TFResNet'),
    neck=dict(
        type='TFFPN',
        norm_cfg=None,
        out_norm_cfg=norm_cfg,
        conv_cfg=dict(type='Conv2dAdaptivePadding'),
        add_extra_convs='on_output',
    ),
    rpn_head=dict(
        type='TFRPNHead',
        norm_cfg=norm_cfg,
        anchor_generator=dict(ratios=[1.0, 0.5, 2.0], center_offset=0.5),
        bbox_coder=dict(type='TFDeltaXYWHBBoxCoder'),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            type='TFRoIExtractor', roi_layer=roi_layer, featmap_strides=strides
        ),
        bbox_head=dict(
            cls_predictor_cfg=dict(text_embeddings='data/lvis_v1/vild/text_authors.npz'),
            bbox_coder=dict(type='TFDeltaXYWHBBoxCoder'),
        ),
        mask_roi_extractor=dict(
            type='TFRoIExtractor', roi_layer=roi_layer, featmap_strides=strides
        ),
        mask_head=dict(type='TFFCNMaskHead'),
    ),
    # Proposals without an extent are kept.
    train_cfg=dict(rpn_proposal=dict(min_bbox_size=-1)),
    test_cfg=dict(
        rpn=dict(min_bbox_size=-1),
        rcnn=dict(nms=dict(type='tf_nms', iou_threshold=0.5)),
    ),
)
