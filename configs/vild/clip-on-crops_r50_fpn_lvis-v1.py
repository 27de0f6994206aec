# CLIP on cropped regions: the teacher classifies crops of ViLD-text's boxes, times objectness. For
# testing only, on a checkpoint of ViLD-text.
_base_ = './vild-text_r50_fpn_20e_lvis-v1.py'

model = dict(
    type='CLIPOnCrops',
    with_objectness=True,
    teacher=dict(type='OpenCLIPTeacher', model_name='ViT-B-32-quickgelu', pretrained='openai'),
)
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='KeepOriginalImage'),
    *_base_.test_pipeline[1:-1],
    dict(
        type='PackDetInputs',
        meta_keys=(
            *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            *('ori_img', 'text', 'custom_entities'),
        ),
    ),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
