# Any words without training: MMDetection's own Mask R-CNN of COCO proposes, CLIP classifies the
# crops. For testing only, on the checkpoint of the model zoo that load_from names.
# They are of mmdet's mask-rcnn_r50_fpn_2x_coco, with which this shares all but the runtime.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_2x.py',
    '../_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmdet_vild'], allow_failed_imports=False)

load_from = (
    'https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/mask_rcnn_r50_fpn_2x_coco/'
    'mask_rcnn_r50_fpn_2x_coco_bbox_mAP-0.392__segm_mAP-0.354_20200505_003907-3e542a40.pth'
)
model = dict(
    type='CLIPOnStockDetector',
    teacher=dict(type='OpenCLIPTeacher', model_name='ViT-B-32-quickgelu', pretrained='openai'),
    backbone=dict(init_cfg=None),  # load_from has it
    # As many crops as a CPU encodes in seconds; more find more.
    test_cfg=dict(rpn=dict(max_per_img=100), rcnn=dict(score_thr=0.0)),
)
packing = _base_.test_pipeline[-1]
packing.meta_keys = (*packing.meta_keys, 'text', 'custom_entities', 'ori_img')
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='KeepOriginalImage'),
    *_base_.test_pipeline[1:-1],
    packing,
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
