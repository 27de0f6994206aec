# ViLD on OV-COCO: one head learns the words of 48 base categories and the teacher's region
# embeddings (w = 0.5).
_base_ = [
    '../_base_/models/vild_mask-rcnn_r50_fpn.py',
    '../_base_/datasets/ov_coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

model = dict(
    roi_head=dict(
        bbox_head=dict(
            num_classes=65,
            cls_predictor_cfg=dict(text_embeddings='data/coco/vild/text_vit-b-32.npz'),
        ),
        mask_head=dict(num_classes=65),
    ),
    test_cfg=dict(rcnn=dict(max_per_img=100)),
)
