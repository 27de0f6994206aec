# ViLD-text: the words of base categories only, nothing from the teacher's image encoder.
_base_ = './vild_lite0_fpn_mini-lvis.py'

model = dict(roi_head=dict(distill_loss=None))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
