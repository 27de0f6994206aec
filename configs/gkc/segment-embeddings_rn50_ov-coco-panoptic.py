# Writes the teacher's embeddings of grey-masked segments: what is distilled, of the base
# categories of COCO panoptic alone. For the test tool; the checkpoint that it wants may be any.
_base_ = './segment-embeddings_rn50_coco-panoptic.py'

test_dataloader = dict(dataset=dict(type='OVCocoPanopticDataset'))
test_evaluator = dict(path='data/coco/gkc-ov/segments_rn50')
