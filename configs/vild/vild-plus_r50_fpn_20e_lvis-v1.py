# ViLD+: ViLD-ensemble with later papers' additions (docs/vild_plus.md). Its regions are those that
# vild-plus-text proposes.
_base_ = [
    '../_base_/models/vild-plus_mask-rcnn_r50_fpn.py',
    '../_base_/datasets/ov_lvis_v1_instance.py',
    '../_base_/schedules/schedule_20e.py',
    '../_base_/default_runtime.py',
]

data_root = _base_.data_root
train_pipeline = _base_.train_pipeline
train_pipeline[-2].store.path = data_root + 'vild/oln/regions_vit-b-32'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
