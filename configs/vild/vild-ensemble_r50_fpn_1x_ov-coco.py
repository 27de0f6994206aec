# ViLD-ensemble on OV-COCO: a second branch learns the region embeddings; both classify (w = 0.5).
_base_ = './vild_r50_fpn_1x_ov-coco.py'

model = dict(roi_head=dict(bbox_head=dict(type='ViLDEnsembleBBoxHead', ensemble_weight=2 / 3)))
