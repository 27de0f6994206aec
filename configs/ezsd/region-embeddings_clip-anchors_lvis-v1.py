# Writes the tuned teacher's embeddings of the annotated boxes of base categories and of 300 of its
# own proposals an image of LVIS's training images, chosen by the 866 base names. For the test tool,
# which wants a checkpoint and takes nothing of it: give it the teacher's weights.
_base_ = './region-embeddings_clip-anchors_ov-coco.py'

data_root = 'data/lvis_v1/'
model = dict(
    teacher=dict(pretrained='data/lvis_v1/ezsd/vit-b-32_tuned.pt'),
    proposers=[
        dict(type='GroundTruthProposer'),
        dict(
            type='CLIPAnchorProposer',
            text_embeddings='data/lvis_v1/vild/text_vit-b-32.npz',
            num_candidates=500,
        ),
    ],
)
test_dataloader = dict(
    dataset=dict(
        type='OpenVocabularyLVISDataset',
        data_root=data_root,
        ann_file='annotations/lvis_v1_train.json',
        data_prefix=dict(img=''),
    )
)
test_evaluator = dict(
    path='data/lvis_v1/ezsd/regions_clip-anchors_vit-b-32',
    ann_file='data/lvis_v1/annotations/lvis_v1_train.json',
)
