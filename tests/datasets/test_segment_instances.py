"""Segments through random pipelines: each keeps its label, and what the teacher saw in it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules

from mmdet_vild.datasets import (
    NumberSegments,
    PackSegmentInputs,
    SegmentEmbeddings,
    SegmentInstances,
)
from mmdet_vild.embedding_store import EmbeddingRecord

pytestmark = pytest.mark.onedl
register_all_modules()
#: The colour of a pixel of no segment; that of a segment is its id times 7.
NONE, STEP = 0, 7


class Store:
    """In which the embedding of a segment is its id."""

    teacher, path = 'teacher@0', 'memory'

    def __init__(self, results: dict) -> None:
        ids, boxes = results['ids'], results['segment_boxes']
        rows = np.repeat(np.array(ids, np.float32)[:, None], 3, axis=1)
        self.record = EmbeddingRecord(boxes, np.ones(len(boxes), np.float32), rows)

    def read(self, results: dict) -> EmbeddingRecord:
        return self.record


def transforms():
    some = [
        st.just(dict(type='RandomFlip', prob=1.0)),
        st.just(dict(type='RandomFlip', prob=1.0, direction='vertical')),
        st.builds(
            lambda s: dict(type='RandomCrop', crop_size=(s, s), allow_negative_crop=True),
            st.integers(12, 40),
        ),
        st.builds(
            lambda s: dict(type='Resize', scale=(s, s), keep_ratio=True, interpolation='nearest'),
            st.integers(24, 80),
        ),
        st.just(dict(type='Pad', size=(96, 96), pad_val=dict(img=(0, 0, 0), seg=255))),
    ]
    return st.lists(st.one_of(some), max_size=4)


def picture(draw, by: str) -> dict:
    """Blocks of random ids from 1; colours say which; labels are the id modulo 3."""
    blocks = np.array(draw(st.lists(st.integers(0, 9), min_size=12, max_size=12))).reshape(3, 4)
    ids = np.kron(blocks, np.ones((16, 12), int))
    image = np.repeat((ids * STEP).astype(np.uint8)[..., None], 3, axis=2)
    results = dict(img_id=1, img=image, img_shape=ids.shape, ori_shape=ids.shape)
    found = sorted(set(ids.ravel().tolist()) - {0})
    if by == 'instances':  # they may overlap: each mask has the first row too
        masks = np.array([ids == i for i in found], np.uint8).reshape(-1, *ids.shape)
        boxes = BitmapMasks(masks, *ids.shape).get_bboxes('hbox').numpy()
        results |= dict(
            ids=found,
            gt_masks=BitmapMasks(masks, *ids.shape),
            gt_bboxes=boxes,
            gt_bboxes_labels=np.array(found, np.int64) % 3,
            gt_ignore_flags=np.zeros(len(found), bool),
        )
        return results
    results |= dict(ignore_index=255, gt_seg_map=np.where(ids, ids % 3, 255).astype(np.int32))
    results['ids'] = found
    results['gt_segment_ids'] = ids.astype(np.int32)
    if by == 'category':
        image[...] = np.where(ids, (ids % 3 + 1) * STEP, 0)[..., None]
        results['ids'] = sorted({i % 3 + 1 for i in found})
        del results['gt_segment_ids']
    return results


@settings(max_examples=60)
@given(st.data())
def test_what_is_known_of_a_segment_stays_with_it(data):
    """After any crops, flips and filters, the pixels of each mask say which segment it is of."""
    np.random.seed(data.draw(st.integers(0, 99)))
    by = data.draw(st.sampled_from(['segment', 'category', 'instances']))
    results = picture(data.draw, by)
    results = NumberSegments('category' if by == 'instances' else by)(results)
    assert len(results['segment_labels']) == len(results['ids'])
    store = Store(results)
    pipeline = [TRANSFORMS.build(cfg) for cfg in data.draw(transforms())]
    if by == 'instances' and data.draw(st.booleans()):
        filtering = dict(type='FilterAnnotations', min_gt_bbox_wh=(4, 4), keep_empty=False)
        pipeline.append(TRANSFORMS.build(filtering))
    for transform in (*pipeline, SegmentInstances(), SegmentEmbeddings(store)):
        results = transform(results)
    image = results['img'].copy()
    packed = PackSegmentInputs(meta_keys=())(results)['data_samples']
    instances = packed.gt_instances
    assert instances.teacher == 'teacher@0' and 'gt_sem_seg' not in packed
    assert len(instances.masks) == len(instances) == len(instances.bboxes)
    assert instances.masks.masks.any((1, 2)).all()
    for mask, label, row in zip(
        instances.masks.masks, instances.labels, instances.embeddings, strict=True
    ):
        expected = int(row[0])
        assert label == (expected - 1 if by == 'category' else expected % 3)
        colors = set(image[mask.astype(bool)][:, 0].tolist())
        assert colors <= {expected * STEP}
    if by != 'instances':  # and all that is left is found
        assert {int(row[0]) * STEP for row in instances.embeddings} == set(
            image[..., 0].ravel().tolist()
        ) - {NONE}
        for mask, box in zip(instances.masks.masks, instances.bboxes.tolist(), strict=True):
            y, x = np.nonzero(mask)
            assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_instances_of_too_few_pixels_are_dropped():
    """With their boxes, labels and flags: a crop leaves boxes of which no pixel is left."""
    masks = np.zeros((4, 6, 8), np.uint8)
    masks[0, :2, :2], masks[2, 5, 7], masks[3, 4:, 4:] = 1, 1, 1
    found = SegmentInstances(min_pixels=2)(
        dict(
            gt_masks=BitmapMasks(masks, 6, 8), gt_bboxes=np.arange(16.0).reshape(4, 4),
            gt_bboxes_labels=np.array([3, 1, 0, 2]), gt_ignore_flags=np.array([0, 0, 0, 1], bool),
            segment_labels=np.array([50, 51, 52, 53]),
        )
    )  # fmt: skip
    assert found['segment_rows'].tolist() == [3, 2] and len(found['gt_masks']) == 2
    assert found['gt_bboxes_labels'].tolist() == [53, 52]
    assert found['gt_bboxes'][:, 0].tolist() == [0, 12]
    assert found['gt_ignore_flags'].tolist() == [False, True]


def test_instances_of_two_pictures_are_refused():
    """Which CopyPaste puts together: they have the numbers of either."""
    pictures = []
    for labels in ([5, 6], [7, 8, 9]):
        masks = np.zeros((len(labels), 20, 20), np.uint8)
        for i, mask in enumerate(masks):
            mask[4 * i : 4 * i + 3, 4 * i : 4 * i + 3] = 1
        masks = BitmapMasks(masks, 20, 20)
        made = dict(
            img_id=len(labels),
            img=np.zeros((20, 20, 3), np.uint8),
            gt_masks=masks,
            gt_bboxes=HorizontalBoxes(masks.get_bboxes('hbox').tensor),
            gt_bboxes_labels=np.array(labels),
            gt_ignore_flags=np.zeros(len(labels), bool),
        )
        pictures.append(NumberSegments()(made))
    np.random.seed(0)
    pasted = TRANSFORMS.build(dict(type='CopyPaste', selected=False))
    for first, second in (pictures, pictures[::-1]):
        mixed = pasted(dict(first, mix_results=[second]))
        with pytest.raises(ValueError, match='put NumberSegments .*nothing that mixes pictures'):
            SegmentInstances()(mixed)


def test_labels_alone_need_no_numbers():
    seg_map = np.array([[0, 0, 255], [4, 4, 0]], np.int32)
    found = SegmentInstances()(dict(gt_seg_map=seg_map, ignore_index=255))
    assert found['gt_bboxes_labels'].tolist() == [0, 4]
    assert found['gt_masks'].masks.tolist() == [[[1, 1, 0], [0, 0, 1]], [[0, 0, 0], [1, 1, 0]]]
    few = SegmentInstances(min_pixels=3)(dict(gt_seg_map=seg_map, ignore_index=255))
    assert few['gt_bboxes_labels'].tolist() == [0]
    none = SegmentInstances()(dict(gt_seg_map=np.full((4, 4), 255), ignore_index=255))
    assert len(none['gt_masks']) == 0 and none['gt_bboxes'].shape == (0, 4)


def test_more_segments_than_a_byte_has():
    """None of them is taken for the number of no segment."""
    ids = np.arange(1, 301, dtype=np.int32).reshape(15, 20)
    results = dict(gt_seg_map=ids % 7, gt_segment_ids=ids, ignore_index=255)
    results = SegmentInstances()(NumberSegments('segment')(results))
    assert results['segment_rows'].tolist() == list(range(300))
    assert results['gt_bboxes_labels'].tolist() == [i % 7 for i in range(1, 301)]


def test_padding_is_no_segment_of_more_classes_than_a_byte_has():
    """mmdet pads maps with 255, which is a label of theirs, and no number of a segment."""
    pad = TRANSFORMS.build(dict(type='Pad', size=(4, 4)))

    def results() -> dict:
        seg_map = np.array([[254, 255], [256, 65535]], np.int32)
        return dict(img=np.zeros((2, 2, 3)), gt_seg_map=seg_map, ignore_index=65535)

    found = SegmentInstances()(pad(NumberSegments()(results())))
    assert found['gt_bboxes_labels'].tolist() == [254, 255, 256]
    assert found['gt_masks'].areas.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match='labels with ignore_index 65535, and .* with 255, which'):
        SegmentInstances()(pad(results()))


def test_refuses_maps_of_another_size():
    """Which SegRescale makes: masks of it would be a quarter of the picture."""
    results = dict(img=np.zeros((8, 12, 3)), gt_seg_map=np.zeros((8, 12), np.int32))
    results = TRANSFORMS.build(dict(type='SegRescale', scale_factor=0.25))(results)
    with pytest.raises(ValueError, match=r'\(8, 12\) high and wide, and its map \(2, 3\): some'):
        SegmentInstances()(results)


def test_crowds_are_none():
    ids = np.array([[1, 1], [2, 3]], np.int32)
    info = [dict(id=2, iscrowd=1), dict(id=1, iscrowd=0), dict(id=3, iscrowd=0)]
    results = dict(gt_seg_map=ids + 4, gt_segment_ids=ids, ignore_index=255, segments_info=info)
    assert NumberSegments('segment')(results)['segment_labels'].tolist() == [5, 7]


def test_refuses_samples_without_segments():
    with pytest.raises(ValueError, match='neither gt_seg_map nor gt_masks'):
        NumberSegments()({})
    with pytest.raises(ValueError, match='has no gt_segment_ids'):
        NumberSegments('segment')(dict(gt_seg_map=np.zeros((2, 2), int)))
    with pytest.raises(ValueError, match='have no numbers'):
        SegmentInstances()({})
    results = dict(gt_seg_map=np.array([[3]]), segment_labels=np.array([0]))
    with pytest.raises(ValueError, match='nothing that mixes pictures'):
        SegmentInstances()(results)
    with pytest.raises(ValueError, match='min_pixels'):
        SegmentInstances(0)


@pytest.mark.parametrize('boxes', [[[0, 0, 9, 9]], [[0, 0, 9, 9], [30, 0, 40, 9]]])
def test_refuses_a_store_of_other_segments(boxes):
    results = dict(img_id=7, ids=[1, 2], segment_rows=np.array([0, 1]))
    results['segment_boxes'] = np.array([[0, 0, 9, 9], [5, 5, 9, 9]], np.float32)
    store = Store(results | dict(ids=range(len(boxes)), segment_boxes=np.array(boxes, np.float32)))
    with pytest.raises(ValueError, match='other segments of image 7'):
        SegmentEmbeddings(store)(results)
    del results['segment_rows']
    with pytest.raises(ValueError, match='has no numbered segments'):
        SegmentEmbeddings(store)(results)
