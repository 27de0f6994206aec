# Mask R-CNN supervised with base categories, with the paper's schedule, from scratch.
_base_ = [
    '../_base_/models/mask-rcnn_r50_fpn_lvis_syncbn-all.py',
    '../_base_/datasets/ov_lvis_v1_instance_lsj.py',
    '../_base_/iter_runtime.py',
    '../_base_/schedules/schedule_lsj-180k.py',
]

train_pipeline = [*_base_.train_pipeline[:-2], dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
