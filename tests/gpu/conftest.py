import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.structures import InstanceData
from small_detector import SmallDetector

SIZE, OBJECTS, REGIONS = 64, 3, 6


@pytest.fixture(autouse=True, scope='session')
def _registered() -> None:
    register_all_modules()


@pytest.fixture(scope='session')
def small(tmp_path_factory):
    """The detector of a mini config with random weights; see :class:`SmallDetector`."""
    made = {}

    def get(config: str) -> SmallDetector:
        if config not in made:
            made[config] = SmallDetector(tmp_path_factory.mktemp(config), config)
        return made[config]

    return get


@pytest.fixture
def training_batch():
    """A batch of two pictures with objects and the regions of a teacher, as it is loaded."""

    def make(detector: SmallDetector) -> dict:
        torch.manual_seed(0)
        text = detector.text

        def boxes(count: int) -> torch.Tensor:
            start = torch.rand(count, 2) * SIZE * 0.6
            return torch.cat([start, start + 8 + torch.rand(count, 2) * SIZE * 0.3], dim=1)

        samples = []
        for _ in range(2):
            sample = DetDataSample(metainfo=dict.fromkeys(('img_shape', 'ori_shape'), (SIZE, SIZE)))
            gt = boxes(OBJECTS)
            masks = np.zeros((OBJECTS, SIZE, SIZE), np.uint8)
            for mask, (x1, y1, x2, y2) in zip(masks, gt.long().tolist(), strict=True):
                mask[y1:y2, x1:x2] = 1
            sample.gt_instances = InstanceData(
                bboxes=gt,
                labels=torch.from_numpy(np.flatnonzero(~text.novel)[[0, 1, 0]]),
                masks=BitmapMasks(masks, SIZE, SIZE),
            )
            sample.ignored_instances = InstanceData(
                bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
            )
            sample.distill_instances = InstanceData(
                bboxes=boxes(REGIONS),
                embeddings=torch.randn(REGIONS, text.embed_dims).half(),
                weights=torch.rand(REGIONS),
                metainfo=dict(teacher=text.teacher),
            )
            samples.append(sample)
        images = torch.randint(256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
        return dict(inputs=list(images), data_samples=samples)

    return make
