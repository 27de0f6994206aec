# GKC on MaskFormer: six predictions, of a decoder without masked attention.
_base_ = './gkc_r50-clip_8xb14-50k_coco-panoptic.py'

layer = dict(embed_dims=256, num_heads=8, dropout=0.1, batch_first=True)
ffn = dict(
    embed_dims=256,
    feedforward_channels=2048,
    num_fcs=2,
    ffn_drop=0.1,
    act_cfg=dict(type='ReLU', inplace=True),
)
model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        frozen_stages=-1,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    panoptic_head=dict(
        type='GKCMaskFormerHead',
        pixel_decoder=dict(
            _delete_=True,
            type='TransformerEncoderPixelDecoder',
            norm_cfg=dict(type='GN', num_groups=32),
            act_cfg=dict(type='ReLU'),
            encoder=dict(num_layers=6, layer_cfg=dict(self_attn_cfg=layer, ffn_cfg=ffn)),
            positional_encoding=dict(num_feats=128, normalize=True),
        ),
        transformer_decoder=dict(
            _delete_=True,
            num_layers=6,
            layer_cfg=dict(self_attn_cfg=layer, cross_attn_cfg=layer, ffn_cfg=ffn),
            return_intermediate=True,
        ),
        loss_cls=dict(loss_weight=1.0),
        loss_mask=dict(
            _delete_=True,
            type='FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=20.0,
        ),
        loss_dice=dict(loss_weight=1.0),
    ),
    train_cfg=dict(
        assigner=dict(
            match_costs=[
                dict(type='ClassificationCost', weight=1.0),
                dict(type='FocalLossCost', weight=20.0, binary_input=True),
                dict(type='DiceCost', weight=1.0, pred_act=True, eps=1.0),
            ]
        )
    ),
)
