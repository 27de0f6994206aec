# LVIS v1 with large-scale jitter, resized as TensorFlow does.
_base_ = './ov_lvis_v1_instance_lsj.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].resize_type = 'TFResize'
test_pipeline = _base_.test_pipeline
test_pipeline[1].type = 'TFResize'
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [test_pipeline[1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
