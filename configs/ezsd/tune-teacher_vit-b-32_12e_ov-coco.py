# Tunes the LayerNorms of CLIP's image encoder to crops of the 48 base categories of OV-COCO, before
# everything else of EZSD; batches of 2 GPUs x 2 images. For the train tool.
_base_ = ['../_base_/datasets/ov_coco_instance.py', '../_base_/default_runtime.py']
custom_imports = dict(imports=['mmdet_vild'], allow_failed_imports=False)

model = dict(
    type='TeacherTuner',
    teacher=dict(
        type='OpenCLIPTeacher',
        model_name='ViT-B-32-quickgelu',
        pretrained='openai',
        batch_size=1024,
        crop_mode='pad_black',
        crop_scales=(1.2,),
        min_side=10,
    ),
    text_embeddings='data/coco/vild/text_vit-b-32.npz',
)
# The teacher sees the original pixels: no Resize.
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='LoadAnnotations', with_bbox=True),
    _base_.train_pipeline[3],
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]
test_pipeline = [*train_pipeline[:2], train_pipeline[3]]
train_dataloader = dict(num_workers=4, batch_sampler=None, dataset=dict(pipeline=train_pipeline))
# Of novel categories too, which training does not see.
val_dataloader = dict(batch_size=8, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
# crops/base_accuracy, crops/novel_accuracy, crops/accuracy: also before the first iteration.
val_evaluator = dict(_delete_=True, type='CropAccuracy')
test_evaluator = dict(_delete_=True, type='CropAccuracy')
custom_hooks = [*_base_.custom_hooks, dict(type='ValBeforeTrainHook')]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1),
)
auto_scale_lr = dict(enable=False, base_batch_size=4)
