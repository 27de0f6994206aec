# The same with the raw teacher.
_base_ = './region-embeddings_clip-anchors_lvis-v1.py'

model = dict(teacher=dict(pretrained='openai'))
test_evaluator = dict(path='data/lvis_v1/ezsd/regions_clip-anchors_raw_vit-b-32')
