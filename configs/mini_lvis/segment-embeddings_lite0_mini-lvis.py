# Writes the teacher's embeddings of grey-masked segments of the train images. For the test tool;
# the checkpoint that it wants may be any, as nothing is taken of it.
_base_ = './gkc-plain_lite0_mini-lvis.py'

data_root = '{{$MINI_LVIS:data/mini_lvis}}/'
model = dict(
    _delete_=True,
    type='SegmentEmbeddingExtractor',
    teacher=dict(
        type='OpenCLIPTeacher',
        model_name='mini-clip-lite0',
        pretrained=data_root + 'vild/teacher.pt',
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
    # An interrupted run goes on with the images that are not in the store yet.
    sampler=dict(_delete_=True, type='UnfinishedSampler'),
    # As in training: of novel categories there are no segments.
    dataset=dict(_base_.train_dataloader.dataset, _delete_=True, pipeline=test_pipeline),
)
test_evaluator = dict(
    _delete_=True,
    type='EmbeddingStoreWriter',
    path=data_root + 'gkc/segments',
    ann_file=data_root + 'gkc/train.txt',
)
custom_hooks = [*_base_.custom_hooks, dict(type='EmbeddingStoreHook')]
