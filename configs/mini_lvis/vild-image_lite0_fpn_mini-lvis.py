# ViLD-image: the teacher's region embeddings only; no classification loss and no background.
_base_ = './vild_lite0_fpn_mini-lvis.py'

model = dict(roi_head=dict(bbox_head=dict(cls_predictor_cfg=dict(with_background=False))))
