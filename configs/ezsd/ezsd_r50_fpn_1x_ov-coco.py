# EZSD on OV-COCO: words of 48 base categories; the embeddings, by the tuned teacher, of their
# annotated boxes and of 200 of its 300 proposals an image, drawn anew each epoch; boxes by class.
_base_ = [
    '../_base_/models/ezsd_mask-rcnn_r50_fpn.py',
    '../_base_/datasets/ov_coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]

train_pipeline = _base_.train_pipeline
train_pipeline[-2].store.path = 'data/coco/ezsd/regions_clip-anchors_vit-b-32'
train_pipeline[-2].update(max_proposals=200, order='random', keep_annotated=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(clip_grad=dict(max_norm=10))
