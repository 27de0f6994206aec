# Writes the teacher's embeddings of 300 proposals of ViLD-text an image of the train split, into
# the store that the other configs read. For the test tool, on a checkpoint of ViLD-text.
_base_ = './vild-text_r50_fpn_20e_lvis-v1.py'

data_root = 'data/lvis_v1/'
model = dict(
    type='RegionEmbeddingExtractor',
    teacher=dict(
        type='OpenCLIPTeacher',
        model_name='ViT-B-32-quickgelu',
        pretrained='openai',
        batch_size=1024,
        autocast='float16',
    ),
    test_cfg=dict(rpn=dict(max_per_img=300)),
)
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='KeepOriginalImage'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='PackViLDInputs'),
]
test_dataloader = dict(
    batch_size=8,
    num_workers=8,
    # An interrupted run goes on with the images that are not in the store yet.
    sampler=dict(_delete_=True, type='UnfinishedSampler'),
    dataset=dict(ann_file='annotations/lvis_v1_train.json', pipeline=test_pipeline),
)
test_evaluator = dict(
    _delete_=True,
    type='EmbeddingStoreWriter',
    path=data_root + 'vild/regions_vit-b-32',
    ann_file=data_root + 'annotations/lvis_v1_train.json',
)
custom_hooks = [*_base_.custom_hooks, dict(type='EmbeddingStoreHook')]
