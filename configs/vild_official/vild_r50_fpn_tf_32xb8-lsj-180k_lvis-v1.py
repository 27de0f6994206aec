# ViLD in the authors' network, for their released weights (w = 0.5).
_base_ = [
    '../_base_/models/vild_mask-rcnn_r50_fpn_tf.py',
    '../_base_/datasets/ov_lvis_v1_instance_lsj_tf.py',
    '../_base_/iter_runtime.py',
    '../_base_/schedules/schedule_lsj-180k.py',
]
