# ViLD on the network of mask-rcnn_mini.py.
_base_ = './mask-rcnn_mini.py'

model = dict(
    type='ViLD',
    # Encodes words that are asked for at inference; built for those alone.
    teacher=dict(
        type='OpenCLIPTeacher',
        model_name='mini-clip-lite0',
        pretrained='{{$MINI_LVIS:data/mini_lvis}}/vild/teacher.pt',
    ),
    roi_head=dict(
        type='ViLDRoIHead',
        bbox_head=dict(
            _delete_=True,
            type='ViLDBBoxHead',
            num_shared_convs=0,
            num_shared_fcs=2,
            in_channels=96,
            fc_out_channels=384,
            fc_norm_cfg=dict(type='BN1d'),
            roi_feat_size=7,
            num_classes=227,
            cls_predictor_cfg=dict(
                type='CLIPTextClassifier',
                text_embeddings='{{$MINI_LVIS:data/mini_lvis}}/vild/text.npz',
                temperature=0.06,
            ),
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0.0, 0.0, 0.0, 0.0],
                target_stds=[0.1, 0.1, 0.2, 0.2],
            ),
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=2.0),
        ),
        distill_loss=dict(type='ViLDImageDistillLoss', loss_weight=1.0),
    ),
)
