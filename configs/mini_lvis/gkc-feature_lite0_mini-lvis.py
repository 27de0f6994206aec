# Distillation of the teacher's embeddings of grey-masked segments, without texts.
_base_ = './gkc-plain_lite0_mini-lvis.py'

model = dict(panoptic_head=dict(distill_loss=dict(type='FeatureDistillLoss', loss_weight=2.0)))
segments = dict(
    type='SegmentEmbeddings',
    store=dict(type='EmbeddingStore', path='{{$MINI_LVIS:data/mini_lvis}}/gkc/segments'),
)
train_pipeline = [*_base_.train_pipeline[:-1], segments, _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
