# Distillation of CLIP's embeddings of grey-masked segments, without texts, on Swin-T.
_base_ = './gkc-text-guided_swin-t_8xb2-lsj-50e_coco-panoptic.py'

model = dict(
    panoptic_head=dict(
        distill_loss=dict(_delete_=True, type='FeatureDistillLoss', loss_weight=10.0)
    )
)
