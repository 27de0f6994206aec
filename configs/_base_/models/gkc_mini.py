# GKC small enough to learn on two cores: EfficientNet-Lite0, one layer of deformable attention,
# three of the decoder, 24 queries.
_base_ = './gkc_r50-clip.py'

num_classes = 235
width = 96
attention = dict(embed_dims=width, num_heads=4)
ffn = dict(embed_dims=width, feedforward_channels=2 * width)
world = '{{$MINI_LVIS:data/mini_lvis}}/'
model = dict(
    teacher=dict(
        model_name='mini-clip-lite0',
        pretrained=world + 'vild/teacher.pt',
    ),
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='tf_efficientnet_lite0',
        out_indices=(1, 2, 3, 4),
        frozen=('conv_stem', 'bn1', *[f'blocks.{i}' for i in range(5)]),
        # As GKC's is CLIP's: the teacher's image tower.
        init_cfg=dict(
            type='Pretrained', checkpoint=world + 'vild/teacher.pt', prefix='visual.trunk'
        ),
    ),
    panoptic_head=dict(
        in_channels=[24, 40, 112, 320],
        feat_channels=width,
        out_channels=width,
        num_things_classes=num_classes,
        num_queries=24,
        cls_predictor_cfg=dict(text_embeddings=world + 'gkc/names.npz'),
        pixel_decoder=dict(
            norm_cfg=dict(_delete_=True, type='BN'),
            encoder=dict(
                num_layers=1,
                layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn),
            ),
            positional_encoding=dict(num_feats=width // 2),
        ),
        positional_encoding=dict(num_feats=width // 2),
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn),
        ),
        loss_cls=dict(loss_weight=4.0, class_weight=[1.0] * num_classes + [0.1]),
    ),
    panoptic_fusion_head=dict(num_things_classes=num_classes),
    train_cfg=dict(num_points=768),
    test_cfg=dict(max_per_image=24),
)
