# Writes the teacher's embeddings of grey-masked instances of OV-COCO. For the test tool; the
# checkpoint that it wants may be any, as nothing is taken of it.
_base_ = './gkc_r50-clip_8xb14-50k_ov-coco-instance.py'

model = dict(
    _delete_=True,
    type='SegmentEmbeddingExtractor',
    teacher=dict(
        type='OpenCLIPTeacher',
        model_name='RN50-quickgelu',
        pretrained='openai',
        batch_size=256,
        autocast='float16',
    ),
)
test_pipeline = [
    *_base_.train_pipeline[:3],
    dict(type='KeepOriginalImage'),
    dict(
        type='PackDetInputs',
        meta_keys=(
            *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            *('ori_img', 'segment_boxes'),
        ),
    ),
]
test_dataloader = dict(
    batch_size=4,
    num_workers=8,
    sampler=dict(_delete_=True, type='UnfinishedSampler'),
    # As in training: of novel categories there are no segments.
    dataset={
        **_base_.train_dataloader.dataset,
        **dict(_delete_=True, pipeline=test_pipeline),
    },
)
test_evaluator = dict(
    _delete_=True,
    type='EmbeddingStoreWriter',
    path=_base_.store.path,
    ann_file='data/coco/annotations/instances_train2017.json',
)
custom_hooks = [*_base_.custom_hooks, dict(type='EmbeddingStoreHook')]
