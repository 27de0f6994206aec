# GKC by Mask2Former's own recipe: large-scale jitter at 1024x1024, 16 images, 50 epochs;
# tested with a shorter side of 800.
_base_ = './gkc_r50-clip_8xb14-50k_coco-panoptic.py'

size, max_iters = (1024, 1024), 368750
model = dict(
    data_preprocessor=dict(
        batch_augments=[dict(type='BatchFixedSizePad', size=size, pad_mask=True, mask_pad_value=0)]
    )
)
train_pipeline = _base_.train_pipeline
train_pipeline[4].update(scale=size, ratio_range=(0.1, 2.0))
train_pipeline[5].update(crop_size=size)
train_dataloader = dict(batch_size=2, num_workers=2, dataset=dict(pipeline=train_pipeline))
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(1333, 800))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=0.0001))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=max_iters, milestones=[327778, 355092])
auto_scale_lr = dict(base_batch_size=16)
