# The semantic maps of the world of tools/mini_lvis: its categories, and the materials of
# backgrounds, by the words that segment_words.py writes. MINI_LVIS names its folder. Clutter and,
# in training, novel objects are 65535.
dataset_type = 'OpenVocabularySegDataset'
data_root = '{{$MINI_LVIS:data/mini_lvis}}/'
vocabulary = data_root + 'gkc/names.json'

# What loads, what moves pixels, and what makes a segment an instance.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSemanticSegmentation'),
    dict(type='NumberSegments'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='SegmentInstances'),
    dict(type='PackSegmentInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='LoadSemanticSegmentation'),
    dict(
        type='PackDetInputs',
        meta_keys=(
            *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            *('text', 'custom_entities'),
        ),
    ),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        vocabulary=vocabulary,
        ann_file='gkc/train.txt',
        data_prefix=dict(img_path='train2017/', seg_map_path='semantic/train2017/'),
        ignored_values=[65535],
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        vocabulary=vocabulary,
        ann_file='gkc/val.txt',
        data_prefix=dict(img_path='val2017/', seg_map_path='semantic/val2017/'),
        ignored_values=[65535],
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='OpenVocabularySegMetric')
# Designs that the training has shown, and others, apart.
test_sets = [
    dict(
        type=dataset_type,
        data_root=data_root,
        vocabulary=vocabulary,
        ann_file=f'gkc/{split}.txt',
        data_prefix=dict(img_path='val2017/', seg_map_path='semantic/val2017/'),
        ignored_values=[65535],
        test_mode=True,
        pipeline=test_pipeline,
    )
    for split in ('test', 'unseen')
]
test_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ConcatDataset', datasets=test_sets),
)
test_evaluator = dict(
    type='MultiDatasetsEvaluator',
    metrics=[dict(type='OpenVocabularySegMetric'), dict(type='OpenVocabularySegMetric')],
    dataset_prefixes=['seen', 'unseen'],
)
