"""Labels of 16 bits, through mmdet's transforms to a sample."""

import numpy as np
import pytest
from label_pictures import blocks, write_numbers, write_picture
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from mmdet_vild.datasets.label_files import LabelTable

pytestmark = pytest.mark.onedl

VALUES = [3, 846, 65535, 300]


@pytest.fixture
def info(tmp_path) -> dict:
    """Of a picture of 32 x 24 pixels, with labels of 847 classes."""
    write_picture(tmp_path / 'a.jpg')
    write_numbers(tmp_path / 'a.tif', blocks(VALUES, dtype=np.uint16))
    paths = dict(img_path=str(tmp_path / 'a.jpg'), seg_map_path=str(tmp_path / 'a.tif'))
    return dict(img_id=0, **paths, label_table=LabelTable(range(847), [65535]))


def pipeline(*transforms: dict) -> Compose:
    load = dict(type='LoadImageFromFile'), dict(type='LoadSemanticSegmentation')
    return Compose([TRANSFORMS.build(t) for t in (*load, *transforms, dict(type='PackDetInputs'))])


def labels(sample: dict) -> np.ndarray:
    return sample['data_samples'].gt_sem_seg.sem_seg.numpy()


def test_a_sample_has_labels_and_what_is_ignored(info):
    sample = pipeline()(info)['data_samples']
    assert sample.gt_sem_seg.sem_seg.shape == (1, 24, 32)
    assert sample.gt_sem_seg.metainfo['ignore_index'] == 65535
    np.testing.assert_array_equal(labels({'data_samples': sample})[0], blocks(VALUES, dtype=int))


def test_transforms_move_labels_of_16_bits(info):
    """No number changes, and ignored ones stay."""
    flip = pipeline(dict(type='RandomFlip', prob=1.0))(info)
    np.testing.assert_array_equal(labels(flip)[0], blocks(VALUES[::-1], dtype=int))
    resize = pipeline(dict(type='Resize', scale=(64, 48), keep_ratio=True))(info)
    np.testing.assert_array_equal(labels(resize)[0], blocks(VALUES, (48, 64), int))
    np.random.seed(0)
    crop = pipeline(
        dict(type='RandomResize', scale=(32, 32), ratio_range=(0.8, 1.2), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(16, 16), allow_negative_crop=True),
    )(info)
    assert labels(crop).shape == (1, 16, 16) and {*np.unique(labels(crop))} <= {*VALUES}
    pad = pipeline(dict(type='Pad', size=(40, 40), pad_val=dict(img=0, seg=65535)))(info)
    assert (labels(pad)[0, 24:] == 65535).all()
    np.testing.assert_array_equal(labels(pad)[0, :24, :32], blocks(VALUES, dtype=int))


def test_after_resize_labels_have_the_pictures_own_size(info):
    steps = (
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 48), keep_ratio=True),
        dict(type='LoadSemanticSegmentation'),
        dict(type='PackDetInputs'),
    )
    sample = Compose([TRANSFORMS.build(step) for step in steps])(info)
    assert sample['inputs'].shape == (3, 48, 64) and labels(sample).shape == (1, 24, 32)


def test_pictures_without_labels_pass(info):
    del info['seg_map_path']
    assert 'gt_sem_seg' not in pipeline()(info)['data_samples']


def test_refuses_labels_of_another_picture(info, tmp_path):
    write_numbers(tmp_path / 'a.tif', blocks([1, 2], (20, 32), np.uint16))
    with pytest.raises(ValueError, match='a.tif has 32x20 pixels, but its picture 32x24'):
        pipeline()(info)
    write_numbers(tmp_path / 'a.tif', blocks([1, 2], (32, 24), np.uint16))
    with pytest.raises(ValueError, match='EXIF'):
        pipeline()(info)


def test_needs_a_picture_and_a_table(info):
    del info['label_table']
    with pytest.raises(ValueError, match=r"found no \['label_table'\] in the sample"):
        pipeline()(info)
