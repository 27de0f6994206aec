import numpy as np
import pytest
import torch
from mmdet.utils import register_all_modules
from small_detector import SmallDetector
from small_models import SIZE, random_sample


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
        text, samples = detector.text, []
        for _ in range(2):
            sample = random_sample(3, 6, text.teacher, text.embed_dims)
            sample.gt_instances.labels = torch.from_numpy(np.flatnonzero(~text.novel)[[0, 1, 0]])
            regions = sample.distill_instances
            regions.embeddings, regions.weights = regions.embeddings.half(), torch.rand(6)
            samples.append(sample)
        images = torch.randint(256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
        return dict(inputs=list(images), data_samples=samples)

    return make
