# Text diversification alone, by the mean of each category's synonyms.
_base_ = './gkc-plain_r50-clip_8xb14-50k_coco-panoptic.py'

model = dict(
    panoptic_head=dict(
        synonym_loss=dict(
            type='SynonymLoss',
            text_embeddings='data/coco/gkc/synonyms_rn50.npz',
            way='mean',
        )
    )
)
