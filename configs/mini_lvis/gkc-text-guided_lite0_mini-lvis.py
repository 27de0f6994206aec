# Text-guided distillation, without synonyms.
_base_ = './gkc-feature_lite0_mini-lvis.py'

model = dict(
    panoptic_head=dict(
        distill_loss=dict(type='TextGuidedDistillLoss', loss_weight=2.0, text_weight=2.0)
    )
)
