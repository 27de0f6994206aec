# Writes the tuned teacher's embeddings of the annotated boxes of base categories and of 20 of its
# own proposals an image, chosen by the base names. For the test tool, which wants a checkpoint and
# takes nothing of it.
_base_ = './region-embeddings_lite0_fpn_mini-lvis.py'

data_root = '{{$MINI_LVIS:data/mini_lvis}}/'
model = dict(
    _delete_=True,
    type='CLIPRegionExtractor',
    teacher=dict(
        type='OpenCLIPTeacher',
        model_name='mini-clip-lite0',
        pretrained=data_root + 'ezsd/teacher_tuned.pt',
    ),
    proposers=[
        dict(type='GroundTruthProposer'),
        dict(
            type='CLIPAnchorProposer',
            text_embeddings=data_root + 'vild/text.npz',
            # Few, as two cores look at each, and none of the sizes in which the teacher hardly
            # tells things apart.
            stride=32,
            sizes=(104, 150),
            ratios=(1.0,),
            num_candidates=20,
            num_kept=20,
        ),
    ],
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='KeepOriginalImage'),
    dict(type='PackViLDInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_evaluator = dict(path=data_root + 'ezsd/regions_clip-anchors')
