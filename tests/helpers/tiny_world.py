"""A dataset of eight pictures and a stock config that trains on it in seconds."""

import json
from pathlib import Path

import cv2
import numpy as np

CLASSES = ('square', 'disc')

CONFIG = """
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['mmdet_vild'])

metainfo = dict(classes=('square', 'disc'))
model = dict(
    backbone=dict(depth=18, init_cfg=None, frozen_stages=-1, norm_eval=False),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32),
        mask_roi_extractor=dict(out_channels=32),
        bbox_head=dict(num_classes=2, in_channels=32, fc_out_channels=64),
        mask_head=dict(num_classes=2, in_channels=32, conv_out_channels=32),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=100, max_per_img=50)),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=50), rcnn=dict(score_thr=0.0)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
_dataset = dict(
    _delete_=True,
    type='LVISV1Dataset',
    data_root='{root}/',
    ann_file='annotations.json',
    data_prefix=dict(img=''),
    metainfo=metainfo,
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**_dataset, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(**_dataset, test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='LVISMetric', metric=['bbox', 'segm'], ann_file='{root}/annotations.json'
)
test_evaluator = val_evaluator
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=2, val_interval=100
)
param_scheduler = []
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=1)
)
log_processor = dict(by_epoch=False)
"""


def make_tiny_world(root: Path) -> Path:
    """Write pictures, LVIS annotations and a config; return the config's path."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id in range(1, 9):
        picture = rng.integers(0, 90, (96, 96, 3), dtype=np.uint8)
        for category_id in (1, 2):
            x, y = (int(v) for v in rng.integers(8, 56, 2))
            if category_id == 1:
                cv2.rectangle(picture, (x, y), (x + 30, y + 30), (200, 80, 80), -1)
            else:
                cv2.circle(picture, (x + 15, y + 15), 15, (80, 200, 80), -1)
            box = [x, y, x + 30, y, x + 30, y + 30, x, y + 30]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=category_id,
                    bbox=[x, y, 30, 30],
                    area=900,
                    iscrowd=0,
                    segmentation=[[float(v) for v in box]],
                )
            )
        name = f'{image_id:012d}.png'
        cv2.imwrite(str(root / name), picture)
        images.append(
            dict(
                id=image_id,
                height=96,
                width=96,
                coco_url=f'http://images.cocodataset.org/{name}',
                neg_category_ids=[],
                not_exhaustive_category_ids=[],
            )
        )
    categories = [
        dict(id=i, name=name, synonyms=[name], frequency='f') for i, name in enumerate(CLASSES, 1)
    ]
    (root / 'annotations.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )
    config = root / 'tiny_mask_rcnn.py'
    config.write_text(CONFIG.replace('{root}', str(root)))
    return config
