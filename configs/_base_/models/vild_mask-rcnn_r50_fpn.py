# ViLD on Mask R-CNN with ResNet-50 FPN: the network of DetPro's ViLD*. Its bbox head has 4 convs
# and 1 FC; neck and convs have SyncBN; of the pretrained backbone only the statistics of its norms
# are fixed. DetPro begins with SoCo's weights, this with ImageNet's (docs/configs.md).
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
custom_imports = dict(imports=['mmdet_vild'], allow_failed_imports=False)

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='ViLD',
    # Encodes words that are asked for at inference; built for those alone.
    teacher=dict(type='OpenCLIPTeacher', model_name='ViT-B-32-quickgelu', pretrained='openai'),
    backbone=dict(frozen_stages=-1),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        type='ViLDRoIHead',
        bbox_head=dict(
            _delete_=True,
            type='ViLDBBoxHead',
            num_shared_convs=4,
            num_shared_fcs=1,
            in_channels=256,
            conv_out_channels=256,
            fc_out_channels=1024,
            norm_cfg=norm_cfg,
            roi_feat_size=7,
            num_classes=1203,
            cls_predictor_cfg=dict(
                type='CLIPTextClassifier',
                text_embeddings='data/lvis_v1/vild/text_vit-b-32.npz',
                temperature=0.01,
            ),
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0.0, 0.0, 0.0, 0.0],
                target_stds=[0.1, 0.1, 0.2, 0.2],
            ),
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0),
        ),
        mask_head=dict(num_classes=1203, class_agnostic=True),
        distill_loss=dict(type='ViLDImageDistillLoss', loss_weight=0.5),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=300)),
)
