# GKC: synonyms drawn for each segment, and text-guided distillation.
_base_ = './gkc-synonyms_r50-clip_8xb14-50k_coco-panoptic.py'

model = dict(panoptic_head=dict(distill_loss=dict(type='TextGuidedDistillLoss', loss_weight=10.0)))
segments = dict(
    type='SegmentEmbeddings',
    store=dict(type='EmbeddingStore', path='data/coco/gkc/segments_rn50'),
)
train_pipeline = [*_base_.train_pipeline[:-1], segments, _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
