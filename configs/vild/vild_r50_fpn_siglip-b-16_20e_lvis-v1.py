# ViLD taught by SigLIP ViT-B/16: its words, and its embeddings of the regions.
_base_ = './vild_r50_fpn_20e_lvis-v1.py'

data_root = _base_.data_root
words = dict(text_embeddings=data_root + 'vild/text_siglip-b-16.npz')
model = dict(
    teacher=dict(model_name='ViT-B-16-SigLIP', pretrained='webli'),
    roi_head=dict(bbox_head=dict(cls_predictor_cfg=words)),
)
train_pipeline = _base_.train_pipeline
train_pipeline[-2]['store']['path'] = data_root + 'vild/regions_siglip-b-16'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
