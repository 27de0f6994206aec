# CLIP on cropped regions: the teacher classifies crops of ViLD-text's boxes. For testing only.
_base_ = './vild-text_r50_fpn_20e_lvis-v1.py'

model = dict(
    type='CLIPOnCrops',
    with_objectness=True,
    teacher=dict(type='OpenCLIPTeacher', model_name='ViT-B-32-quickgelu', pretrained='openai'),
)
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='KeepOriginalImage'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'ori_img'),
    ),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
