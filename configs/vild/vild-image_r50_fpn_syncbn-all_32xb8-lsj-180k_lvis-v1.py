# ViLD-image with the paper's schedule, from scratch.
_base_ = './vild_r50_fpn_syncbn-all_32xb8-lsj-180k_lvis-v1.py'

model = dict(roi_head=dict(bbox_head=dict(cls_predictor_cfg=dict(with_background=False))))
