"""From annotated segments to a store, and from there to training samples."""

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.dataset import pseudo_collate

from mmdet_vild.datasets import NumberSegments, SegmentEmbeddings, SegmentInstances
from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.extraction import EmbeddingStoreWriter
from mmdet_vild.teacher.masked_crops import encode_masks

pytestmark = pytest.mark.onedl
register_all_modules()
META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'ori_img', 'segment_boxes')


def extractor(**how):
    torch.manual_seed(0)
    teacher = dict(type='OpenCLIPTeacher', model_name='mini-clip')
    return MODELS.build(dict(type='SegmentEmbeddingExtractor', teacher=teacher, **how))


@pytest.fixture(scope='module')
def model():
    return extractor()


def loaded(tmp_path, name: int, masks: bool = False) -> dict:
    """A picture of 32 x 48 with the categories 4 and 7, and pixels of none."""
    rng = np.random.default_rng(name)
    path = str(tmp_path / f'{name}.png')
    cv2.imwrite(path, rng.integers(0, 255, (32, 48, 3)).astype(np.uint8))
    seg_map = np.full((32, 48), 255, np.int32)
    seg_map[4 : 10 + name, 6:20], seg_map[12:30, 22:40] = 7, 4
    seg_map[:7, 6:13] = seg_map[16:30, 22:36] = 255  # so that each fills a part of its box
    results = TRANSFORMS.build(dict(type='LoadImageFromFile'))(dict(img_path=path, img_id=name))
    if masks:
        both = np.array([seg_map == 4, seg_map == 7], np.uint8)
        return results | dict(
            gt_masks=BitmapMasks(both, 32, 48), gt_bboxes_labels=np.array([4, 7]),
            gt_bboxes=BitmapMasks(both, 32, 48).get_bboxes('hbox'),
            gt_ignore_flags=np.array([True, False]),  # the first is a crowd
        )  # fmt: skip
    return results | dict(gt_seg_map=seg_map, ignore_index=255)


def samples(tmp_path, **how) -> list[dict]:
    pipeline = Compose([
        NumberSegments(),
        TRANSFORMS.build(dict(type='KeepOriginalImage')),
        TRANSFORMS.build(dict(type='PackDetInputs', meta_keys=META)),
    ])  # fmt: skip
    return [pipeline(loaded(tmp_path, name, **how)) for name in (1, 2)]


@pytest.mark.parametrize(
    ('masks', 'how'),
    [(False, {}), (True, {}), (False, dict(masked=False)), (True, dict(token='local'))],
)
def test_store_has_the_embedding_of_each_segment(tmp_path, masks, how):
    """It comes back beside the segment, whatever happened to the picture."""
    model, how = extractor(**how), dict(masked=True, token='global') | how
    store = tmp_path / 'store'
    ann_file = tmp_path / 'annotations.json'
    ann_file.write_text('{}')
    writer = EmbeddingStoreWriter(str(store), str(ann_file))
    writer.open(model.source)
    found = model.test_step(pseudo_collate(samples(tmp_path, masks=masks)))
    writer.process({}, [sample.to_dict() for sample in found])
    assert writer.evaluate(2)['embedding_store/images'] == 2
    header = EmbeddingStore(store).header
    assert {key: header[key] for key in how} == how
    for name in (1, 2):
        results = loaded(tmp_path, name, masks)
        image, seg_map = results['img'].copy(), loaded(tmp_path, name)['gt_seg_map']
        pipeline = Compose([
            NumberSegments(),
            TRANSFORMS.build(dict(type='RandomFlip', prob=1.0)),
            SegmentInstances(),
            SegmentEmbeddings(EmbeddingStore(store)),
        ])  # fmt: skip
        results = pipeline(results)
        assert results['gt_bboxes_labels'].tolist() == [4, 7]
        for label, row in zip((4, 7), results['segment_embeddings'], strict=True):
            mask = seg_map == label
            y, x = np.nonzero(mask)
            box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], float)
            expected = encode_masks(model.teacher, image, [mask], box, **how)[0].numpy()
            np.testing.assert_allclose(row, expected, atol=2e-4)  # of float16


def test_refuses_samples_without_segments(model, tmp_path):
    (sample, _) = samples(tmp_path)
    sample['data_samples'].pop('segment_boxes')
    with pytest.raises(ValueError, match='has no segment_boxes'):
        model.test_step(pseudo_collate([sample]))


def test_takes_nothing_of_a_checkpoint(model):
    assert model.load_state_dict({'backbone.weight': torch.ones(1)}, strict=False)
    assert [name for name, value in model.named_parameters() if value.requires_grad] == ['unused']
