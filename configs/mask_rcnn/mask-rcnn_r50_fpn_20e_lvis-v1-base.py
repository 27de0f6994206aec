# Mask R-CNN supervised with base categories: a learned classifier, which knows no novel one.
_base_ = [
    '../_base_/models/mask-rcnn_r50_fpn_lvis.py',
    '../_base_/datasets/ov_lvis_v1_instance.py',
    '../_base_/schedules/schedule_20e.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [*_base_.train_pipeline[:-2], dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
