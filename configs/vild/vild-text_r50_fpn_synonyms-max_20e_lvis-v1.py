# ViLD-text, in which a category's logit is the largest of its synonyms', and not that of their
# average (GKC's text diversification by max).
_base_ = './vild-text_r50_fpn_20e_lvis-v1.py'

model = dict(roi_head=dict(bbox_head=dict(cls_predictor_cfg=dict(synonyms='max'))))
