# Writes the tuned teacher's embeddings of ViLD's regions: 300 proposals of an RPN that base
# categories trained, and the annotated boxes. For the test tool, on a checkpoint of ViLD-text.
_base_ = '../vild/region-embeddings_r50_fpn_ov-coco.py'

model = dict(
    teacher=dict(
        pretrained='data/coco/ezsd/vit-b-32_tuned.pt',
        crop_mode='pad_black',
        crop_scales=(1.2,),
        min_side=10,
    ),
    proposers=[dict(type='GroundTruthProposer'), dict(type='RPNProposer')],
)
test_evaluator = dict(path='data/coco/ezsd/regions_rpn_vit-b-32')
