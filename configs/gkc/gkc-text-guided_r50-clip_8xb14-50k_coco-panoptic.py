# Text-guided distillation, without synonyms.
_base_ = './gkc-feature_r50-clip_8xb14-50k_coco-panoptic.py'

model = dict(
    panoptic_head=dict(
        distill_loss=dict(_delete_=True, type='TextGuidedDistillLoss', loss_weight=10.0)
    )
)
