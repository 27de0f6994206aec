# EZSD: ViLD that learns what the tuned teacher sees in annotated boxes and in the regions that it
# proposes itself, the more the surer it is of a name; and whose boxes depend on the word.
_base_ = './vild_lite0_fpn_mini-lvis.py'

data_root = '{{$MINI_LVIS:data/mini_lvis}}/'
model = dict(
    roi_head=dict(
        bbox_head=dict(type='SemanticBBoxHead'), distill_loss=dict(normalize_weights='image')
    )
)
train_pipeline = _base_.train_pipeline
train_pipeline[-2] = dict(
    type='CLIPCropEmbedding',
    store=dict(type='EmbeddingStore', path=data_root + 'ezsd/regions_clip-anchors'),
    # With the annotated ones about as many as ViLD's 20.
    max_proposals=16,
    order='random',
    keep_annotated=True,
)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
