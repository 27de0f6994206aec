# What all tests of semantic segmentation share: pictures with a shorter side of 512, labels of the
# pictures' own size, and mean IoU as papers and as MMDetection count it. Each set names its classes
# and files; novel are the classes that are none of COCO panoptic's categories.
backend_args = None

test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='LoadSemanticSegmentation', backend_args=backend_args),
    dict(
        type='PackDetInputs',
        meta_keys=(
            *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            *('text', 'custom_entities'),
        ),
    ),
]
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        base_vocabulary='CocoPanoptic133Dataset',
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='OpenVocabularySegMetric')
test_evaluator = val_evaluator
