# EZSD with the regions of an RPN that base categories trained, as ViLD has them; all weights are 1.
_base_ = './ezsd_r50_fpn_1x_lvis-v1.py'

train_pipeline = _base_.train_pipeline
train_pipeline[-2].store.path = 'data/lvis_v1/ezsd/regions_rpn_vit-b-32'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
