# Text diversification alone: each segment has a synonym drawn from those that the teacher finds
# probable for it.
_base_ = './gkc-plain_lite0_mini-lvis.py'

data_root = '{{$MINI_LVIS:data/mini_lvis}}/'
synonyms = data_root + 'gkc/synonyms.npz'
model = dict(
    panoptic_head=dict(
        # Classification weighs as much as in the plain model.
        loss_cls=dict(loss_weight=2.0),
        synonym_loss=dict(
            type='SynonymLoss', text_embeddings=synonyms, way='random', loss_weight=2.0
        ),
    )
)
draw = dict(
    type='DrawSynonyms',
    text_embeddings=synonyms,
    store=dict(type='EmbeddingStore', path=data_root + 'gkc/segments'),
    # About that of the teacher of seed 0.
    temperature=0.04,
)
train_pipeline = [*_base_.train_pipeline[:-1], draw, _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
