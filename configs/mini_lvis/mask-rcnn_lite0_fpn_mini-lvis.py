# Mask R-CNN: an ordinary learned classifier, trained on base categories; the lower bound.
_base_ = [
    '../_base_/models/mask-rcnn_mini.py',
    '../_base_/datasets/mini_lvis_instance.py',
    '../_base_/mini_runtime.py',
    '../_base_/schedules/schedule_mini.py',
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
