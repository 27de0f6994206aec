# ViLD with GKC's text-guided distillation, with its weights of 10, in place of L1: words say how
# near the regions of an image should be.
_base_ = './vild_r50_fpn_1x_ov-coco.py'

model = dict(
    roi_head=dict(distill_loss=dict(_delete_=True, type='TextGuidedDistillLoss', loss_weight=10.0))
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'distill_loss.scale': dict(decay_mult=0.0)}))
