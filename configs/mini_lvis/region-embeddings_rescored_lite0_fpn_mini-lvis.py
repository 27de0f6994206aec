# A rival of anchors: of 60 proposals of ViLD-text's RPN the 20 in which the tuned teacher is
# surest of a name, and the annotated boxes of base categories.
_base_ = './region-embeddings_tuned_lite0_fpn_mini-lvis.py'

data_root = '{{$MINI_LVIS:data/mini_lvis}}/'
model = dict(
    proposers=[
        dict(type='GroundTruthProposer'),
        dict(
            type='CLIPAnchorProposer',
            text_embeddings=data_root + 'vild/text.npz',
            num_candidates=20,
            num_kept=20,
            regions=dict(type='RPNProposer'),
        ),
    ],
    test_cfg=dict(rpn=dict(max_per_img=60)),
)
test_evaluator = dict(path=data_root + 'ezsd/regions_rescored')
