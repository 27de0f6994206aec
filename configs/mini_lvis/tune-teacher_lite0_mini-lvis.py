# Tunes the norms of the teacher's image tower to crops of base categories of the training pictures.
_base_ = [
    '../_base_/datasets/mini_lvis_instance.py',
    '../_base_/mini_runtime.py',
    '../_base_/schedules/schedule_mini.py',
]
custom_imports = dict(imports=['mmdet_vild'], allow_failed_imports=False)

data_root = '{{$MINI_LVIS:data/mini_lvis}}/'
model = dict(
    type='TeacherTuner',
    teacher=dict(
        type='OpenCLIPTeacher',
        model_name='mini-clip-lite0',
        pretrained=data_root + 'vild/teacher.pt',
    ),
    text_embeddings=data_root + 'vild/text.npz',
)
# The teacher sees the original pixels: no Resize.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]
test_pipeline = [*train_pipeline[:2], train_pipeline[3]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
# crops/base_accuracy, crops/novel_accuracy, crops/accuracy: also before the first iteration.
val_evaluator = dict(_delete_=True, type='CropAccuracy')
test_evaluator = dict(_delete_=True, type='CropAccuracy')
custom_hooks = [*_base_.custom_hooks, dict(type='ValBeforeTrainHook')]

max_iters = 250
train_cfg = dict(max_iters=max_iters, val_begin=1, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=20, end=max_iters, eta_min_ratio=0.01),
]
