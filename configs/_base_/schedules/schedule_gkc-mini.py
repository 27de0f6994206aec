# 400 iterations of 8 images, AdamW with a cosine; three minutes on two cores.
max_iters = 400
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_begin=max_iters + 1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

kept = dict(lr_mult=1.0, decay_mult=0.0)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            # What starts from ImageNet; the rest starts from nothing.
            'backbone': dict(lr_mult=0.3),
            # The norms of what is learned of it: norm_decay_mult passes over what is named here.
            **{
                f'backbone.model.blocks.{block}.bn': dict(lr_mult=0.3, decay_mult=0.0)
                for block in ('5.0', '5.1', '5.2', '5.3', '6.0')
            },
            'query_embed': kept,
            'query_feat': kept,
            'level_embed': kept,
            'fc_cls.background': kept,
            'logit_scale': kept,
            'distill_loss.scale': kept,
        },
    ),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, eta_min_ratio=0.01),
]
