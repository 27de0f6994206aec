# ViLD, in which a category is called by one of its synonyms, drawn anew in each step (GKC's text
# diversification); in a test the likeliest counts.
_base_ = './vild_lite0_fpn_mini-lvis.py'

model = dict(roi_head=dict(bbox_head=dict(cls_predictor_cfg=dict(synonyms='random'))))
