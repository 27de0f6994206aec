# CLIP on cropped regions: the teacher classifies crops of ViLD-text's boxes, times objectness. For
# testing only, on the checkpoint of vild-text_r50_fpn_20e_lvis-v1.py.
_base_ = './vild-text_r50_fpn_20e_lvis-v1.py'

model = dict(
    type='CLIPOnCrops',
    with_objectness=True,
    teacher=dict(batch_size=1024, autocast='float16'),
)
packing = _base_.test_pipeline[-1]
packing.meta_keys = (*packing.meta_keys, 'ori_img')
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='KeepOriginalImage'),
    *_base_.test_pipeline[1:-1],
    packing,
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
