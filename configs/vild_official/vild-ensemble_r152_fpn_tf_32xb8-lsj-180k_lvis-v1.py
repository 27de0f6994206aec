# ViLD-ensemble on ResNet-152 in the authors' network, for their released weights (w = 2).
_base_ = './vild-ensemble_r50_fpn_tf_32xb8-lsj-180k_lvis-v1.py'

model = dict(backbone=dict(depth=152), roi_head=dict(distill_loss=dict(loss_weight=2.0)))
