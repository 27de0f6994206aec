# ViLD on ConvNeXt-T: only the backbone and the optimizer that suits it differ from ResNet-50.
# The backbone is MMPretrain's, as in mmdet's own configs: pip install mmpretrain
_base_ = './vild_r50_fpn_20e_lvis-v1.py'
custom_imports = dict(imports=['mmdet_vild', 'mmpretrain.models'], allow_failed_imports=False)

pretrained = 'https://download.openmmlab.com/mmclassification/v0/convnext/downstream/convnext-tiny_3rdparty_32xb128-noema_in1k_20220301-795e9634.pth'  # noqa: E501
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        out_indices=[0, 1, 2, 3],
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained, prefix='backbone.'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)

optim_wrapper = dict(
    constructor='LearningRateDecayOptimizerConstructor',
    paramwise_cfg=dict(decay_rate=0.95, decay_type='layer_wise', num_layers=6),
    optimizer=dict(_delete_=True, type='AdamW', lr=0.0001, betas=(0.9, 0.999), weight_decay=0.05),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = 1000
