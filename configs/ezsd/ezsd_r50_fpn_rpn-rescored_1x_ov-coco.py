# EZSD with an RPN's regions, of which the teacher takes those in which it is sure of a name.
_base_ = './ezsd_r50_fpn_1x_ov-coco.py'

train_pipeline = _base_.train_pipeline
train_pipeline[-2].store.path = 'data/coco/ezsd/regions_rpn-rescored_vit-b-32'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
