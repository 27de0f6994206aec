# A rival of anchors: of the 1000 proposals of an RPN that base categories trained, those in
# which the tuned teacher is sure of a name. For the test tool, on a checkpoint of ViLD-text.
_base_ = './region-embeddings_r50_fpn_tuned_ov-coco.py'

model = dict(
    proposers=[
        dict(type='GroundTruthProposer'),
        dict(
            type='CLIPAnchorProposer',
            text_embeddings='data/coco/vild/text_vit-b-32.npz',
            with_novel_names=True,
            drop_base=True,
            regions=dict(type='RPNProposer'),
        ),
    ],
    test_cfg=dict(rpn=dict(max_per_img=1000)),
)
test_evaluator = dict(path='data/coco/ezsd/regions_rpn-rescored_vit-b-32')
