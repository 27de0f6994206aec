# Distillation of CLIP's embeddings of grey-masked segments, without texts, on ResNet-50.
_base_ = './gkc-text-guided_r50_8xb2-lsj-50e_coco-panoptic.py'

model = dict(
    panoptic_head=dict(
        distill_loss=dict(_delete_=True, type='FeatureDistillLoss', loss_weight=10.0)
    )
)
