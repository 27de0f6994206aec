# ViLD-text: the words of base categories only, nothing from the teacher's image encoder.
_base_ = './vild_r50_fpn_20e_lvis-v1.py'

model = dict(roi_head=dict(distill_loss=None))
train_pipeline = [*_base_.train_pipeline[:-2], dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
