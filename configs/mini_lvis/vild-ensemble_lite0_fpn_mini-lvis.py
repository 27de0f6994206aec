# ViLD-ensemble: a second branch learns the region embeddings; both classify.
_base_ = './vild_lite0_fpn_mini-lvis.py'

# Chosen on val, see docs/mini_lvis.md.
model = dict(roi_head=dict(bbox_head=dict(type='ViLDEnsembleBBoxHead', ensemble_weight=0.83)))
