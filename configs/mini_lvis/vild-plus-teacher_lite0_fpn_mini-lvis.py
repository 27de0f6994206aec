# ViLD+ and the teacher's word on the 50 boxes that it detects (F-VLM). For testing only, on the
# checkpoint of vild-plus_lite0_fpn_mini-lvis.py. The weights were chosen on val.
_base_ = './vild-plus_lite0_fpn_mini-lvis.py'

model = dict(type='TeacherScoredViLD', best=50, base_weight=0.35, novel_weight=0.65)
packing = _base_.test_pipeline[-1]
packing.meta_keys = (*packing.meta_keys, 'ori_img')
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='KeepOriginalImage'),
    *_base_.test_pipeline[1:-1],
    packing,
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
# --tta
tta_pipeline = _base_.tta_pipeline
tta_pipeline.insert(1, test_pipeline[1])
packing = tta_pipeline[-1].transforms[-1][0]
packing.meta_keys = (*packing.meta_keys, 'ori_img')
