# EZSD with the raw teacher: its proposals, and its embeddings of them.
_base_ = './ezsd_r50_fpn_1x_ov-coco.py'

train_pipeline = _base_.train_pipeline
train_pipeline[-2].store.path = 'data/coco/ezsd/regions_clip-anchors_raw_vit-b-32'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
