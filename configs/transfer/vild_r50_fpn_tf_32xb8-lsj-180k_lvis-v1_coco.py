# ViLD in the authors' network, tested on COCO's 80 categories; only the vocabulary differs. For
# testing only, on a checkpoint of vild_official/vild_r50_fpn_tf_32xb8-lsj-180k_lvis-v1.py, such as
# the authors' weights (docs/authors_weights.md).
#   python tools/encode_vocabulary.py CocoDataset \
#       --base data/lvis_v1/annotations/lvis_v1_train.json --model ViT-B-32-quickgelu \
#       --pretrained openai --out data/coco/vild/text-80_vit-b-32.npz
_base_ = '../vild_official/vild_r50_fpn_tf_32xb8-lsj-180k_lvis-v1.py'

data_root = 'data/coco/'
words = dict(text_embeddings=data_root + 'vild/text-80_vit-b-32.npz')
model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=80, cls_predictor_cfg=words), mask_head=dict(num_classes=80)
    ),
    test_cfg=dict(rcnn=dict(max_per_img=100)),
)
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=_base_.test_pipeline,
    )
)
test_evaluator = dict(
    _delete_=True,
    type='CocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric=['bbox', 'segm'],
)
