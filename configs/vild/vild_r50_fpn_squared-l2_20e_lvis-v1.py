# ViLD with GKC's plain distillation loss, the squared L2 distance with its weight of 10, in place
# of L1.
_base_ = './vild_r50_fpn_20e_lvis-v1.py'

model = dict(
    roi_head=dict(distill_loss=dict(_delete_=True, type='FeatureDistillLoss', loss_weight=10.0))
)
