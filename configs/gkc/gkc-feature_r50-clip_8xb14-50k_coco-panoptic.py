# Distillation of CLIP's embeddings of grey-masked segments, without texts.
_base_ = './gkc-plain_r50-clip_8xb14-50k_coco-panoptic.py'

model = dict(panoptic_head=dict(distill_loss=dict(type='FeatureDistillLoss', loss_weight=10.0)))
segments = dict(
    type='SegmentEmbeddings',
    store=dict(type='EmbeddingStore', path='data/coco/gkc/segments_rn50'),
)
train_pipeline = [*_base_.train_pipeline[:-1], segments, _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
