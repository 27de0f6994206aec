# ViLD in the authors' network, tested on PASCAL VOC 2007; only the vocabulary differs. For
# testing only, on a checkpoint of vild_official/vild_r50_fpn_tf_32xb8-lsj-180k_lvis-v1.py, such as
# the authors' weights (docs/authors_weights.md).
#   python tools/encode_vocabulary.py VOCDataset \
#       --base data/lvis_v1/annotations/lvis_v1_train.json --model ViT-B-32-quickgelu \
#       --pretrained openai --out data/VOCdevkit/vild/text_vit-b-32.npz
_base_ = '../vild_official/vild_r50_fpn_tf_32xb8-lsj-180k_lvis-v1.py'

data_root = 'data/VOCdevkit/'
words = dict(text_embeddings=data_root + 'vild/text_vit-b-32.npz')
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=20, cls_predictor_cfg=words), mask_head=dict(num_classes=20)
    ),
    test_cfg=dict(rcnn=dict(max_per_img=100)),
)
test_pipeline = _base_.test_pipeline
test_pipeline[2] = dict(type='LoadAnnotations', with_bbox=True)
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='VOCDataset',
        data_root=data_root,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        test_mode=True,
        pipeline=test_pipeline,
    )
)
test_evaluator = dict(_delete_=True, type='VOCMetric', metric='mAP', eval_mode='11points')
