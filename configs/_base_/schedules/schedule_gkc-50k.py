# The authors' schedule: 50,000 iterations of 112 images (8 GPUs x 14), in mixed precision.
max_iters = 50000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

kept = dict(lr_mult=1.0, decay_mult=0.0)
# MMEngine's norm_decay_mult passes over what custom_keys name; these are the norms of
# CLIP's ResNets, up to the blocks of RN101 and RN50x4.
backbone_norms = {
    f'backbone.{name}': dict(lr_mult=0.1, decay_mult=0.0)
    for name in (
        'bn',
        *(
            f'layer{stage}.{block}.{norm}'
            for stage, blocks in ((1, 4), (2, 6), (3, 23), (4, 6))
            for block in range(blocks)
            for norm in ('bn', 'downsample.1')
        ),
    )
}
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=0.0003, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            **backbone_norms,
            'query_embed': kept,
            'query_feat': kept,
            'level_embed': kept,
            'fc_cls.background': kept,
            'logit_scale': kept,
            'distill_loss.scale': kept,
        },
    ),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
param_scheduler = [
    dict(
        type='MultiStepLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        milestones=[40000, 45000],
        gamma=0.1,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=112)
