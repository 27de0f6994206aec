"""Small models on random data: sizes of ``tests/models/conftest.py``, and what they are given."""

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

CATEGORIES, NOVEL, WIDTH, SIZE = 7, 2, 16, 64
TEACHER = 'teacher@0'
#: All of the same size.
SHAPES = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')


def build(cfg: dict) -> torch.nn.Module:
    """A model with the same initial weights every time."""
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(cfg))
    model.init_weights()
    return model


def feature_maps(batch: int = 2) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(batch, 8, SIZE // stride, SIZE // stride) for stride in (4, 8))


def random_boxes(count: int, least: float = 8, extent: float = 0.3) -> torch.Tensor:
    start = torch.rand(count, 2) * SIZE * 0.6
    return torch.cat([start, start + least + torch.rand(count, 2) * SIZE * extent], dim=1)


def proposals(*counts: int) -> list[InstanceData]:
    """Those of each image."""
    return [InstanceData(bboxes=random_boxes(count, 20, 0)) for count in counts]


def random_sample(
    objects: int = 3, regions: int = 5, teacher: str = TEACHER, width: int = WIDTH
) -> DetDataSample:
    """A training sample with objects of base categories and distillation regions."""
    meta = dict.fromkeys(SHAPES, (SIZE, SIZE)) | dict(scale_factor=(1.0, 1.0))
    sample = DetDataSample(metainfo=meta)
    boxes = random_boxes(objects)
    masks = np.zeros((objects, SIZE, SIZE), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    sample.gt_instances = InstanceData(
        bboxes=boxes,
        labels=torch.randint(0, CATEGORIES - NOVEL, (objects,)),
        masks=BitmapMasks(masks, SIZE, SIZE),
    )
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
    )
    sample.distill_instances = InstanceData(
        bboxes=random_boxes(regions),
        embeddings=torch.randn(regions, width),
        metainfo=dict(teacher=teacher),
    )
    return sample
