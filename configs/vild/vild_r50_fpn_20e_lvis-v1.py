# ViLD: one head learns the words of base categories and the teacher's region embeddings (w = 0.5).
_base_ = [
    '../_base_/models/vild_mask-rcnn_r50_fpn.py',
    '../_base_/datasets/ov_lvis_v1_instance.py',
    '../_base_/schedules/schedule_20e.py',
    '../_base_/default_runtime.py',
]
