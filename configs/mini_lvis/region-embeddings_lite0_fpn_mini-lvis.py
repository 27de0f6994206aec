# Writes the teacher's embeddings of ViLD-text's proposals on the train images. For the test tool.
_base_ = './vild-text_lite0_fpn_mini-lvis.py'

data_root = '{{$MINI_LVIS:data/mini_lvis}}/'
model = dict(
    type='RegionEmbeddingExtractor',
    teacher=dict(
        type='OpenCLIPTeacher',
        model_name='mini-clip-lite0',
        pretrained=data_root + 'vild/teacher.pt',
    ),
    test_cfg=dict(rpn=dict(max_per_img=20)),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='KeepOriginalImage'),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='PackViLDInputs'),
]
test_dataloader = dict(
    # An interrupted run goes on with the images that are not in the store yet.
    sampler=dict(_delete_=True, type='UnfinishedSampler'),
    dataset=dict(ann_file='annotations/lvis_v1_train.json', pipeline=test_pipeline),
)
test_evaluator = dict(
    _delete_=True,
    type='EmbeddingStoreWriter',
    path=data_root + 'vild/regions',
    ann_file=data_root + 'annotations/lvis_v1_train.json',
)
custom_hooks = [*_base_.custom_hooks, dict(type='EmbeddingStoreHook')]
