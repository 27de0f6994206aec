# Writes the teacher's embeddings of segments' boxes: by which synonyms are drawn, of the base
# categories of COCO panoptic alone. For the test tool; the checkpoint that it wants may be any.
_base_ = './segment-embeddings_vit-b-32_coco-panoptic.py'

test_dataloader = dict(dataset=dict(type='OVCocoPanopticDataset'))
test_evaluator = dict(path='data/coco/gkc-ov/boxes_vit-b-32')
