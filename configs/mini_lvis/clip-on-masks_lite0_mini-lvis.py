# The slow rival: the teacher names every mask of gkc-plain by its crop. For testing only.
_base_ = './gkc-plain_lite0_mini-lvis.py'

model = dict(
    type='CLIPOnMasks',
    # The materials of backgrounds, which no caption told the teacher.
    own_words=(
        *('sky', 'grass', 'sand', 'water'),
        *('wall-brick', 'floor-wood', 'floor-tile', 'cloth'),
    ),
    # The teacher's; the segmentor's is in its checkpoint.
    panoptic_head=dict(cls_predictor_cfg=dict(temperature=0.04)),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='KeepOriginalImage'),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='LoadSemanticSegmentation'),
    dict(
        type='PackDetInputs',
        meta_keys=(
            *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            *('ori_img', 'text', 'custom_entities'),
        ),
    ),
]
test_sets = [dict(each, pipeline=test_pipeline) for each in _base_.test_sets]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(datasets=test_sets))
