# GKC trained without 18 categories of COCO panoptic, which the test has. The stores are written by
# the same extractions with this metainfo: of novel categories they have no segments.
_base_ = './gkc_r50-clip_8xb14-50k_coco-panoptic.py'

metainfo = dict(
    novel_classes=(
        *('bicycle', 'stop sign', 'cow', 'giraffe', 'suitcase', 'frisbee', 'skateboard'),
        *('wine glass', 'apple', 'carrot', 'toilet', 'keyboard', 'scissors', 'bridge', 'cardboard'),
        *('playingfield', 'river', 'wall stone'),
    )
)
words = 'data/coco/gkc/ov-'
model = dict(
    panoptic_head=dict(
        cls_predictor_cfg=dict(text_embeddings=words + 'names_rn50.npz'),
        synonym_loss=dict(text_embeddings=words + 'synonyms_rn50.npz'),
    )
)
train_pipeline = _base_.train_pipeline
train_pipeline[-3].text_embeddings = words + 'synonyms_vit-b-32.npz'
train_pipeline[-3].store.path = 'data/coco/gkc/ov-boxes_vit-b-32'
train_pipeline[-2].store.path = 'data/coco/gkc/ov-segments_rn50'
train_dataloader = dict(dataset=dict(metainfo=metainfo, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
