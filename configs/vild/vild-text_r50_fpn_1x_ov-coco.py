# ViLD-text on OV-COCO: the words of 48 base categories only.
_base_ = './vild_r50_fpn_1x_ov-coco.py'

model = dict(roi_head=dict(distill_loss=None))
train_pipeline = [*_base_.train_pipeline[:-2], dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
