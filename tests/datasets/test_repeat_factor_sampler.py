"""Repeat factor sampling, against mmdet's dataset wrapper."""

from collections import Counter

import numpy as np
import pytest
from mmdet.datasets import AspectRatioBatchSampler
from mmdet.datasets.base_det_dataset import BaseDetDataset
from mmengine.dataset import ClassBalancedDataset, ConcatDataset
from mmengine.dataset import sampler as samplers

from mmdet_vild.datasets import RepeatFactorSampler

pytestmark = pytest.mark.onedl


class Images(BaseDetDataset):
    """Images of some of 30 categories, the last of which are rare; and one of none."""

    def load_data_list(self) -> list[dict]:
        share = 0.5 / np.arange(1, 31) ** 2
        found = np.random.default_rng(0).random((400, 30)) < share
        found[0] = False
        return [
            dict(
                width=8 + index % 2,
                height=9 - index % 2,
                instances=[dict(bbox_label=label) for label in np.flatnonzero(labels).tolist()],
            )
            for index, labels in enumerate(found)
        ]


@pytest.fixture(scope='module')
def dataset() -> Images:
    return Images()


@pytest.mark.parametrize('threshold', [1e-3, 0.03, 1.0])
def test_the_images_of_class_balanced_dataset(dataset: Images, threshold: float) -> None:
    expected = ClassBalancedDataset(dataset, threshold).repeat_indices
    sampler = RepeatFactorSampler(dataset, threshold, shuffle=False)
    assert list(sampler) == expected and len(sampler) == len(expected)
    assert (len(expected) > len(dataset)) == (threshold > 1e-3)
    both = RepeatFactorSampler(ConcatDataset([dataset, dataset]), threshold, shuffle=False)
    assert list(both) == expected + [index + len(dataset) for index in expected]


def test_processes_share_an_epoch(dataset: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image its number of times, and in another order the next time."""
    epochs = []
    for epoch in (0, 1):
        found = []
        for rank in range(3):
            monkeypatch.setattr(samplers, 'get_dist_info', lambda rank=rank: (rank, 3))
            sampler = RepeatFactorSampler(dataset, 0.03, seed=5, round_up=False)
            sampler.set_epoch(epoch)
            part = list(sampler)
            assert len(part) == len(sampler)
            found += part
        epochs.append(found)
    assert Counter(epochs[0]) == Counter(sampler.repeat_indices)
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1]


def test_batches_of_one_orientation(dataset: Images) -> None:
    """The batch sampler of mmdet asks the sampler's dataset for sizes."""
    batches = list(AspectRatioBatchSampler(RepeatFactorSampler(dataset, 0.03), 4))
    assert all(len({index % 2 for index in batch}) == 1 for batch in batches[:-2])


@pytest.mark.parametrize('threshold', [0, 1.5, float('nan')])
def test_refuses_what_is_no_share(dataset: Images, threshold: float) -> None:
    with pytest.raises(ValueError, match='oversample_thr .* must be .* above 0 and at most 1'):
        RepeatFactorSampler(dataset, threshold)
