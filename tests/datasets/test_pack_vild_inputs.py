import copy

import numpy as np
import pytest
import torch
from memory_store import Memory
from mmcv.transforms import CenterCrop, LoadImageFromFile
from mmdet.datasets.transforms import PackDetInputs, Pad, RandomFlip, Resize
from mmdet.models import DetDataPreprocessor
from mmengine.dataset import pseudo_collate

from mmdet_vild.datasets import CLIPCropEmbedding, KeepOriginalImage, PackViLDInputs

pytestmark = pytest.mark.onedl


def sample(size=(20, 30)):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    return dict(img=image, img_id=3, img_path='3.jpg', ori_shape=size, img_shape=size)


@pytest.mark.parametrize('boxes', [[[1, 2, 10, 20], [0, 0, 9, 9]], np.zeros((0, 4))])
def test_packs_and_survives_the_data_path(boxes):
    weights = np.arange(len(boxes)) / 2
    packed = PackViLDInputs()(CLIPCropEmbedding(Memory(boxes, weights=weights))(sample()))
    batch = pseudo_collate([copy.deepcopy(packed), packed])
    batch = DetDataPreprocessor(pad_size_divisor=32)(batch, training=True)
    for data_sample in copy.deepcopy(batch['data_samples']):
        regions = data_sample.distill_instances
        assert regions.teacher == 'memory@0'
        assert (regions.bboxes.dtype, regions.embeddings.dtype) == (torch.float32, torch.float16)
        np.testing.assert_array_equal(regions.bboxes, boxes)
        assert regions.embeddings.shape == (len(boxes), 2)
        assert regions.weights.dtype == torch.float32 and regions.weights.tolist() == [*weights]
        assert data_sample.to('cpu').distill_instances.bboxes.shape == (len(boxes), 4)


def test_packs_like_the_parent_without_regions():
    found, expected = PackViLDInputs()(sample()), PackDetInputs()(sample())
    assert torch.equal(found['inputs'], expected['inputs'])
    assert found['data_samples'].metainfo == expected['data_samples'].metainfo
    assert 'distill_instances' not in found['data_samples']


@pytest.mark.parametrize('late', [Pad(size=(64, 64)), Resize(scale=(64, 64))])
def test_transforming_afterwards_is_refused(late):
    results = late(CLIPCropEmbedding(Memory([[1, 2, 10, 20]]))(sample()))
    with pytest.raises(ValueError, match='image 3 was transformed after CLIPCropEmbedding'):
        PackViLDInputs()(results)


def test_original_image_reaches_the_sample():
    results = KeepOriginalImage()(sample())
    original = results['img'].copy()
    results['img'][:] = 0  # some transforms work in place
    packed = PackViLDInputs()(Resize(scale=(64, 64))(results))
    np.testing.assert_array_equal(packed['data_samples'].ori_img, original)
    packed = PackViLDInputs(meta_keys=['img_id'])(results)
    assert packed['data_samples'].metainfo == dict(img_id=3)
    with pytest.raises(ValueError, match="meta_keys of PackViLDInputs must be .* found 'img_id'"):
        PackViLDInputs(meta_keys='img_id')


def test_original_image_must_be_original():
    for late in (Resize(scale=(64, 64)), RandomFlip(prob=1.0), CenterCrop((10, 10))):
        with pytest.raises(ValueError, match='right after LoadImageFromFile'):
            PackViLDInputs()(KeepOriginalImage()(late(sample())))
    with pytest.raises(ValueError, match='to_float32'):
        KeepOriginalImage()({**sample(), 'img': np.zeros((20, 30, 3), np.float32)})


def test_original_image_as_loaded(tmp_path):
    import mmcv

    mmcv.imwrite(sample()['img'], str(tmp_path / 'a.png'))
    results = KeepOriginalImage()(LoadImageFromFile()(dict(img_path=str(tmp_path / 'a.png'))))
    np.testing.assert_array_equal(results['ori_img'], sample()['img'])
