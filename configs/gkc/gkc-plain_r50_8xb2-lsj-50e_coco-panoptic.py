# Mask2Former with words, and nothing else of GKC, on ResNet-50.
_base_ = './gkc_r50_8xb2-lsj-50e_coco-panoptic.py'

model = dict(panoptic_head=dict(synonym_loss=None, distill_loss=None))
# Without DrawSynonyms and SegmentEmbeddings.
train_pipeline = [*_base_.train_pipeline[:-3], _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
