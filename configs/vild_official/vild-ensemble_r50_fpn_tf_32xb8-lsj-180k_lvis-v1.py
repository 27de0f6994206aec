# ViLD-ensemble in the authors' network, for their released weights (w = 0.5).
_base_ = './vild_r50_fpn_tf_32xb8-lsj-180k_lvis-v1.py'

model = dict(roi_head=dict(bbox_head=dict(type='ViLDEnsembleBBoxHead', ensemble_weight=2 / 3)))
