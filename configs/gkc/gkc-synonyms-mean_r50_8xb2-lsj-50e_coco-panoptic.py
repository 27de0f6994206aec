# Text diversification alone, by the mean of each category's synonyms, on ResNet-50.
_base_ = './gkc_r50_8xb2-lsj-50e_coco-panoptic.py'

model = dict(panoptic_head=dict(synonym_loss=dict(way='mean'), distill_loss=None))
# Without DrawSynonyms and SegmentEmbeddings.
train_pipeline = [*_base_.train_pipeline[:-3], _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
