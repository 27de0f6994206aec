# ViLD taught by CLIP ViT-L/14: its words, and its embeddings of the regions.
_base_ = './vild_r50_fpn_20e_lvis-v1.py'

data_root = _base_.data_root
words = dict(text_embeddings=data_root + 'vild/text_vit-l-14.npz')
model = dict(
    teacher=dict(model_name='ViT-L-14-quickgelu', pretrained='openai'),
    roi_head=dict(bbox_head=dict(cls_predictor_cfg=words)),
)
train_pipeline = _base_.train_pipeline
train_pipeline[-2]['store']['path'] = data_root + 'vild/regions_vit-l-14'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
