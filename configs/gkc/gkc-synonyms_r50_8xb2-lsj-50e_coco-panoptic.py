# Text diversification alone, with a synonym drawn for each segment, on ResNet-50.
_base_ = './gkc_r50_8xb2-lsj-50e_coco-panoptic.py'

model = dict(panoptic_head=dict(distill_loss=None))
# Without SegmentEmbeddings.
train_pipeline = [*_base_.train_pipeline[:-2], _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
