# ViLD-text with the paper's schedule, from scratch.
_base_ = './vild_r50_fpn_syncbn-all_32xb8-lsj-180k_lvis-v1.py'

model = dict(roi_head=dict(distill_loss=None))
train_pipeline = [*_base_.train_pipeline[:-2], dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
