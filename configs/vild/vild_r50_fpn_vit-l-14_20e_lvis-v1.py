# ViLD taught by CLIP ViT-L/14: its words, and its embeddings of the regions.
# w: the loss is a sum over the embedding, which for unit vectors grows with the square root of its
# width. Here that is 768, and 0.5 is for 512: 0.5 x sqrt(512 / 768) = 0.41.
_base_ = './vild_r50_fpn_20e_lvis-v1.py'

data_root = _base_.data_root
words = dict(text_embeddings=data_root + 'vild/text_vit-l-14.npz')
model = dict(
    teacher=dict(model_name='ViT-L-14-quickgelu', pretrained='openai'),
    roi_head=dict(
        bbox_head=dict(cls_predictor_cfg=words),
        distill_loss=dict(loss_weight=0.5 * (512 / 768) ** 0.5),
    ),
)
train_pipeline = _base_.train_pipeline
train_pipeline[-2]['store']['path'] = data_root + 'vild/regions_vit-l-14'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
