# EZSD on Mask R-CNN with ResNet-50 FPN. It has no norms but those of the backbone; 3 convs of the
# bbox head are shared, and the words and the boxes, which depend on the word, have a conv and 2 FCs
# of their own each. Words that are asked for at inference are encoded by the raw teacher: tuning
# leaves the text encoder as it is.
_base_ = './vild_mask-rcnn_r50_fpn.py'

model = dict(
    backbone=dict(frozen_stages=1),
    neck=dict(norm_cfg=None),
    roi_head=dict(
        bbox_head=dict(
            type='SemanticBBoxHead',
            num_shared_convs=3,
            num_shared_fcs=0,
            num_cls_convs=1,
            num_cls_fcs=2,
            num_reg_convs=1,
            num_reg_fcs=2,
            norm_cfg=None,
            num_classes=65,
            cls_predictor_cfg=dict(
                text_embeddings='data/coco/vild/text_vit-b-32.npz',
                learned_temperature=True,
                mask_novel='drop',
            ),
        ),
        mask_head=dict(num_classes=65),
        distill_loss=dict(loss_weight=1.0, normalize_weights='image'),
    ),
)
