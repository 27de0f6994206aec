# Writes the teacher's embeddings of segments' boxes: by which synonyms are drawn. For the test
# tool; the checkpoint that it wants may be any, as nothing is taken of it.
_base_ = './segment-embeddings_rn50_coco-panoptic.py'

model = dict(teacher=dict(model_name='ViT-B-32-quickgelu'), masked=False)
test_evaluator = dict(path='data/coco/gkc/boxes_vit-b-32')
