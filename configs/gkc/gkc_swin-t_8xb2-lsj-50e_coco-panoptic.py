# GKC on Swin-T.
_base_ = './gkc_r50_8xb2-lsj-50e_coco-panoptic.py'

pretrained = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth'  # noqa: E501
model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        embed_dims=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        drop_path_rate=0.3,
        patch_norm=True,
        convert_weights=True,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained),
    ),
    panoptic_head=dict(in_channels=[96, 192, 384, 768]),
)
# What has no weight decay in it, as in MMDetection's configs: embeddings of positions, and norms.
undecayed = (
    *('absolute_pos_embed', 'relative_position_bias_table', 'backbone.patch_embed.norm'),
    'backbone.norm',
    *(f'backbone.stages.{stage}.downsample.norm' for stage in range(3)),
    *(
        f'backbone.stages.{stage}.blocks.{block}.norm'
        for stage, blocks in enumerate((2, 2, 6, 2))
        for block in range(blocks)
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={name: dict(lr_mult=0.1, decay_mult=0.0) for name in undecayed})
)
