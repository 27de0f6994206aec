# ViLD with semantic regression, and nothing else of EZSD.
_base_ = '../vild/vild_r50_fpn_1x_ov-coco.py'

model = dict(roi_head=dict(bbox_head=dict(type='SemanticBBoxHead')))
