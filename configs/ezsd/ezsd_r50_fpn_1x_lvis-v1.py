# EZSD on LVIS: words of 866 base categories; the embeddings, by the tuned teacher, of their
# annotated boxes and of 200 of its 300 proposals an image, drawn anew each epoch; boxes by class.
# The teacher proposes by the base names alone: no rare name is known before the test.
_base_ = [
    '../_base_/models/ezsd_mask-rcnn_r50_fpn.py',
    '../_base_/datasets/ov_lvis_v1_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

model = dict(
    rpn_head=dict(loss_bbox=dict(loss_weight=2.0)),
    roi_head=dict(
        bbox_head=dict(
            num_classes=1203,
            cls_predictor_cfg=dict(text_embeddings='data/lvis_v1/vild/text_vit-b-32.npz'),
            loss_bbox=dict(loss_weight=2.0),
        ),
        mask_head=dict(num_classes=1203),
        distill_loss=dict(loss_weight=0.5),
    ),
)
train_pipeline = _base_.train_pipeline
train_pipeline[-2].store.path = 'data/lvis_v1/ezsd/regions_clip-anchors_vit-b-32'
train_pipeline[-2].update(max_proposals=200, order='random', keep_annotated=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(clip_grad=dict(max_norm=10))
train_cfg = dict(val_interval=12)
