# The same with the raw teacher.
_base_ = './region-embeddings_clip-anchors_ov-coco.py'

model = dict(teacher=dict(pretrained='openai'))
test_evaluator = dict(path='data/coco/ezsd/regions_clip-anchors_raw_vit-b-32')
