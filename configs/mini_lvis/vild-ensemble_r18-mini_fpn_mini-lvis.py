# ViLD-ensemble: a second branch learns the region embeddings; both classify.
_base_ = './vild_r18-mini_fpn_mini-lvis.py'

# Each branch decides the categories it is trusted on alone; chosen on val, see docs/mini_lvis.md.
model = dict(roi_head=dict(bbox_head=dict(type='ViLDEnsembleBBoxHead', ensemble_weight=1.0)))
