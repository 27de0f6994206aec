# Writes the tuned teacher's embeddings of the annotated boxes of base categories and of 300 of its
# own proposals an image of OV-COCO's training images. For the test tool, which wants a checkpoint
# and takes nothing of it: give it the teacher's weights.
_base_ = '../vild/region-embeddings_r50_fpn_ov-coco.py'

model = dict(
    _delete_=True,
    type='CLIPRegionExtractor',
    teacher=dict(
        type='OpenCLIPTeacher',
        model_name='ViT-B-32-quickgelu',
        pretrained='data/coco/ezsd/vit-b-32_tuned.pt',
        batch_size=1024,
        autocast='float16',
        crop_mode='pad_black',
        crop_scales=(1.2,),
        min_side=10,
    ),
    proposers=[
        dict(type='GroundTruthProposer'),
        # It knows the 17 novel names, as this benchmark allows: zero-shot annotation detection.
        dict(
            type='CLIPAnchorProposer',
            text_embeddings='data/coco/vild/text_vit-b-32.npz',
            with_novel_names=True,
            drop_base=True,
        ),
    ],
)
# Anchors lie on pictures of 1333 x 800 pixels, as in the base config.
test_dataloader = dict(batch_size=2)
test_evaluator = dict(path='data/coco/ezsd/regions_clip-anchors_vit-b-32')
