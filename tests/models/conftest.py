"""Small ViLD models and samples on random data."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.structures import InstanceData
from small_models import CATEGORIES, NOVEL, SIZE, TEACHER, WIDTH

from mmdet_vild.vocabulary import TextEmbeddings


@pytest.fixture(autouse=True, scope='session')
def _registered() -> None:
    register_all_modules()


@pytest.fixture
def write_text(tmp_path):
    """Writes a text-embedding file of random words; returns its path."""

    def write(
        count: int = CATEGORIES,
        width: int = WIDTH,
        name: str = 'text',
        seed: int = 0,
        teacher: str = TEACHER,
    ) -> str:
        rng = np.random.default_rng(seed)
        path = str(tmp_path / f'{name}.npz')
        TextEmbeddings(
            rng.normal(size=(count, width)),
            tuple(f'{name} {i}' for i in range(count)),
            np.arange(count) >= count - NOVEL,
            teacher,
        ).save(path)
        return path

    return write


@pytest.fixture
def make_sample():
    """Builds a training sample with random objects and distillation regions."""

    def make(objects: int = 3, regions: int = 5, teacher: str = TEACHER, width: int = WIDTH):
        def boxes(count: int) -> torch.Tensor:
            start = torch.rand(count, 2) * SIZE * 0.6
            return torch.cat([start, start + 8 + torch.rand(count, 2) * SIZE * 0.3], dim=1)

        shapes = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
        sample = DetDataSample(
            metainfo=dict.fromkeys(shapes, (SIZE, SIZE)) | dict(scale_factor=(1.0, 1.0))
        )
        gt = boxes(objects)
        masks = np.zeros((objects, SIZE, SIZE), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, gt.long().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample.gt_instances = InstanceData(
            bboxes=gt,
            labels=torch.randint(0, CATEGORIES - NOVEL, (objects,)),
            masks=BitmapMasks(masks, SIZE, SIZE),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        sample.distill_instances = InstanceData(
            bboxes=boxes(regions),
            embeddings=torch.randn(regions, width),
            metainfo=dict(teacher=teacher),
        )
        return sample

    return make


@pytest.fixture
def roi_head_cfg(write_text):
    """Config of a small ViLDRoIHead of each variant."""

    def make(variant: str = 'vild', fc_norm: bool = True, **classifier) -> dict:
        norm = dict(type='BN')
        extractor = dict(type='SingleRoIExtractor', out_channels=8, featmap_strides=[4, 8])
        return dict(
            type='ViLDRoIHead',
            bbox_roi_extractor=extractor
            | dict(roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=1)),
            bbox_head=dict(
                type='ViLDEnsembleBBoxHead' if variant == 'ensemble' else 'ViLDBBoxHead',
                num_shared_convs=1,
                num_shared_fcs=1,
                in_channels=8,
                conv_out_channels=8,
                fc_out_channels=12,
                norm_cfg=norm,
                fc_norm_cfg=dict(type='BN1d') if fc_norm else None,
                num_classes=CATEGORIES,
                cls_predictor_cfg=dict(
                    type='CLIPTextClassifier',
                    text_embeddings=write_text(),
                    with_background=variant != 'image',
                    **classifier,
                ),
            ),
            mask_roi_extractor=extractor
            | dict(roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=1)),
            mask_head=dict(
                type='FCNMaskHead',
                num_convs=1,
                in_channels=8,
                conv_out_channels=8,
                num_classes=CATEGORIES,
                class_agnostic=True,
                norm_cfg=norm,
            ),
            distill_loss=None if variant == 'text' else dict(type='ViLDImageDistillLoss'),
            train_cfg=dict(
                assigner=dict(
                    type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5
                ),
                sampler=dict(type='RandomSampler', num=16, pos_fraction=0.25),
                mask_size=28,
                pos_weight=-1,
            ),
            test_cfg=dict(
                score_thr=0.0,
                nms=dict(type='nms', iou_threshold=0.5),
                max_per_img=10,
                mask_thr_binary=0.5,
            ),
        )

    return make
