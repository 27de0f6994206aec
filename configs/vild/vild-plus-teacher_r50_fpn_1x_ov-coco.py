# ViLD+ on OV-COCO and the teacher's word on the best 100 boxes (F-VLM). For testing only, on the
# checkpoint of vild-plus_r50_fpn_1x_ov-coco.py.
_base_ = './vild-plus_r50_fpn_1x_ov-coco.py'

model = dict(
    type='TeacherScoredViLD',
    best=100,
    base_weight=0.35,
    novel_weight=0.65,
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
# --tta
tta_pipeline = _base_.tta_pipeline
tta_pipeline.insert(1, test_pipeline[1])
packing = tta_pipeline[-1].transforms[-1][0]
packing.meta_keys = (*packing.meta_keys, 'ori_img')
