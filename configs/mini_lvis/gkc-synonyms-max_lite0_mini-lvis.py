# Text diversification alone, by the max of each category's synonyms.
_base_ = './gkc-plain_lite0_mini-lvis.py'

model = dict(
    panoptic_head=dict(
        # Classification weighs as much as in the plain model.
        loss_cls=dict(loss_weight=2.0),
        synonym_loss=dict(
            type='SynonymLoss',
            text_embeddings='{{$MINI_LVIS:data/mini_lvis}}/gkc/synonyms.npz',
            way='max',
            loss_weight=2.0,
        ),
    )
)
