# ViLD taught by SigLIP ViT-B/16: its words, and its embeddings of the regions.
# w: the loss is a sum over the embedding, which for unit vectors grows with the square root of its
# width. Here that is 768, and 0.5 is for 512: 0.5 x sqrt(512 / 768) = 0.41.
# tau: the teacher's own, 1 / 117, since it multiplies similarities by about 117 (CLIP by 100). Its
# bias is the same for every word, so a softmax does not see it.
_base_ = './vild_r50_fpn_20e_lvis-v1.py'

data_root = _base_.data_root
words = dict(text_embeddings=data_root + 'vild/text_siglip-b-16.npz', temperature=1 / 117)
model = dict(
    teacher=dict(model_name='ViT-B-16-SigLIP', pretrained='webli'),
    roi_head=dict(
        bbox_head=dict(cls_predictor_cfg=words),
        distill_loss=dict(loss_weight=0.5 * (512 / 768) ** 0.5),
    ),
)
train_pipeline = _base_.train_pipeline
train_pipeline[-2]['store']['path'] = data_root + 'vild/regions_siglip-b-16'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
