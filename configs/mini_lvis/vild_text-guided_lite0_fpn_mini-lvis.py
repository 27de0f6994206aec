# ViLD with GKC's text-guided distillation: words say how near the regions of a picture should be.
_base_ = './vild_lite0_fpn_mini-lvis.py'

model = dict(
    roi_head=dict(distill_loss=dict(_delete_=True, type='TextGuidedDistillLoss', loss_weight=10.0))
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'distill_loss.scale': dict(decay_mult=0.0)}))
