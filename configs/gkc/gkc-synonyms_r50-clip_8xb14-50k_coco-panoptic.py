# Text diversification alone: each segment has a synonym drawn from those that CLIP ViT-B/32 finds
# probable for its box.
_base_ = './gkc-plain_r50-clip_8xb14-50k_coco-panoptic.py'

model = dict(
    panoptic_head=dict(
        synonym_loss=dict(
            type='SynonymLoss', text_embeddings='data/coco/gkc/synonyms_rn50.npz', way='random'
        )
    )
)
draw = dict(
    type='DrawSynonyms',
    text_embeddings='data/coco/gkc/synonyms_vit-b-32.npz',
    store=dict(type='EmbeddingStore', path='data/coco/gkc/boxes_vit-b-32'),
)
train_pipeline = [*_base_.train_pipeline[:-1], draw, _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
