# GKC trained without 18 categories of COCO panoptic, which the test has. Words and stores are its
# own: of novel categories the stores have no segments.
_base_ = './gkc_r50-clip_8xb14-50k_coco-panoptic.py'

words = 'data/coco/gkc-ov/'
model = dict(
    panoptic_head=dict(
        cls_predictor_cfg=dict(text_embeddings=words + 'names_rn50.npz'),
        synonym_loss=dict(text_embeddings=words + 'synonyms_rn50.npz'),
    )
)
dataset_type = 'OVCocoPanopticDataset'
train_pipeline = _base_.train_pipeline
train_pipeline[-3].text_embeddings = words + 'synonyms_vit-b-32.npz'
train_pipeline[-3].store.path = words + 'boxes_vit-b-32'
train_pipeline[-2].store.path = words + 'segments_rn50'
train_dataloader = dict(dataset=dict(type=dataset_type, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type=dataset_type))
test_dataloader = val_dataloader
