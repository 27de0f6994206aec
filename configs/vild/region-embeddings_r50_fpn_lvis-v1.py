# Writes the teacher's embeddings of 300 proposals of ViLD-text an image of the train split, into
# the store that the other configs read. For the test tool, on a checkpoint of ViLD-text.
_base_ = './vild-text_r50_fpn_20e_lvis-v1.py'

data_root = _base_.data_root
model = dict(
    type='RegionEmbeddingExtractor',
    teacher=dict(batch_size=1024, autocast='float16'),
    test_cfg=dict(rpn=dict(max_per_img=300)),
)
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='KeepOriginalImage'),
    _base_.test_pipeline[1],
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
