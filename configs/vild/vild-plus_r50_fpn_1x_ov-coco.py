# ViLD+ on OV-COCO: ViLD-ensemble with later papers' additions (docs/vild_plus.md). Its regions are
# those that vild-plus-text proposes.
_base_ = [
    '../_base_/models/vild-plus_mask-rcnn_r50_fpn.py',
    '../_base_/datasets/ov_coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

data_root = 'data/coco/'
model = dict(
    roi_head=dict(
        bbox_head=dict(
            num_classes=65,
            cls_predictor_cfg=dict(text_embeddings=data_root + 'vild/text_vit-b-32.npz'),
        ),
        mask_head=dict(num_classes=65),
    ),
    test_cfg=dict(rcnn=dict(max_per_img=100)),
)
train_pipeline = _base_.train_pipeline
train_pipeline[-2].store.path = data_root + 'vild/oln/regions_vit-b-32'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
