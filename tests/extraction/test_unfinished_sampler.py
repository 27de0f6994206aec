"""Which images are left to do."""

import pytest
from mmdet.registry import DATA_SAMPLERS
from small_store import write

import mmdet_vild  # noqa: F401 - registers it

pytestmark = pytest.mark.onedl


class _Dataset:
    def __len__(self):
        return 6

    def get_data_info(self, index):
        return dict(img_id=10 + index)


def test_unfinished_images(tmp_path):
    sampler = DATA_SAMPLERS.build(dict(type='UnfinishedSampler', dataset=_Dataset(), seed=1))
    assert list(sampler) == [0, 1, 2, 3, 4, 5]
    for written, left in (([], [0, 1, 2, 3, 4, 5]), ([11, 14], [0, 2, 3, 5]), (range(10, 16), [])):
        for shard, img_id in enumerate(written):
            write(tmp_path / 's', [img_id], shard)
        sampler.leave_out(str(tmp_path / 's'))
        assert list(sampler) == left and len(sampler) == len(left)
