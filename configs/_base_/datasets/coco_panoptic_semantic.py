# COCO panoptic, 133 categories: train2017, val2017 and panoptic_annotations_trainval2017.zip, with
# the PNGs in annotations/panoptic_{train,val}2017/, as MMDetection has them.
_base_ = './semantic_test.py'

dataset_type = 'CocoPanoptic133Dataset'
data_root = 'data/coco/'
train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=_base_.backend_args),
    dict(type='LoadSemanticSegmentation', backend_args=_base_.backend_args),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomResize', scale=(512, 512), ratio_range=(0.8, 1.2), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 512), allow_negative_crop=True),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img_path='train2017/', seg_map_path='annotations/panoptic_train2017/'),
        pipeline=train_pipeline,
        backend_args=_base_.backend_args,
    ),
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        base_vocabulary=None,
        data_root=data_root,
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img_path='val2017/', seg_map_path='annotations/panoptic_val2017/'),
    )
)
test_dataloader = val_dataloader
