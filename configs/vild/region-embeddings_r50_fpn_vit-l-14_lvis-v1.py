# Writes the embeddings of CLIP ViT-L/14. The proposals are a ViLD-text's,
# whoever encoded its words.
_base_ = './region-embeddings_r50_fpn_lvis-v1.py'

model = dict(teacher=dict(model_name='ViT-L-14-quickgelu', pretrained='openai'))
test_evaluator = dict(path=_base_.data_root + 'vild/regions_vit-l-14')
