# CLIP on cropped regions: the teacher classifies crops of ViLD-text's boxes. For testing only.
_base_ = './vild-text_lite0_fpn_mini-lvis.py'

model = dict(
    type='CLIPOnCrops',
    with_objectness=True,
    # Each is two crops for the teacher.
    test_cfg=dict(rpn=dict(max_per_img=28)),
    teacher=dict(
        type='OpenCLIPTeacher',
        model_name='mini-clip-lite0',
        pretrained='{{$MINI_LVIS:data/mini_lvis}}/vild/teacher.pt',
    ),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='KeepOriginalImage'),
    dict(type='Resize', scale=(192, 192), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            *('ori_img', 'text', 'custom_entities'),
        ),
    ),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
