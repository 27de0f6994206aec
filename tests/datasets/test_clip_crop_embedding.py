import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_store import Memory
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS

from mmdet_vild.datasets import CLIPCropEmbedding
from mmdet_vild.embedding_store import EmbeddingStore, MissingRecordError

pytestmark = pytest.mark.onedl


def sample(size=(100, 200), matrix=None, img_shape=None):
    results = dict(img_id=3, img_path='3.jpg', ori_shape=size, img_shape=img_shape or size)
    if matrix is not None:
        results['homography_matrix'] = np.array(matrix, dtype=np.float32)
    return results


def rows_of(results):
    return results['distill_embeddings'][:, 0].astype(int).tolist()


def test_untransformed():
    boxes = [[10, 20, 30, 40], [0, 0, 200, 100]]
    results = CLIPCropEmbedding(Memory(boxes))(sample())
    np.testing.assert_array_equal(results['distill_bboxes'], boxes)
    np.testing.assert_array_equal(results['distill_embeddings'], [[0, 1], [1, 1]])
    assert results['distill_bboxes'].dtype == np.float32
    assert results['distill_embeddings'].dtype == np.float16  # as the store has them
    assert results['distill_teacher'] == 'memory@0'
    assert results['distill_weights'].tolist() == [1, 1]
    assert results['distill_weights'].dtype == np.float32


#: Cropped to (50..150, 10..60).
CROPPED = sample(matrix=[[1, 0, -50], [0, 1, -10], [0, 0, 1]], img_shape=(50, 100))


def test_crop_keeps_what_is_visible_with_its_embedding():
    """By hand."""
    boxes = [
        [60, 20, 100, 50],  # inside
        [0, 0, 40, 40],  # outside
        [30, 10, 70, 60],  # half of it
        [20, 10, 69, 60],  # 19/49 of it
        [149.5, 20, 150, 40],  # half a pixel wide
    ]
    results = CLIPCropEmbedding(Memory(boxes))(copy.deepcopy(CROPPED))
    np.testing.assert_array_equal(results['distill_bboxes'], [[10, 10, 50, 40], [0, 0, 20, 50]])
    assert rows_of(results) == [0, 2]
    for min_visible, rows in ((0, [0, 2, 3]), (1, [0])):
        attach = CLIPCropEmbedding(Memory(boxes), min_visible=min_visible)
        assert rows_of(attach(copy.deepcopy(CROPPED))) == rows


def check_nothing(results):
    shapes = dict(bboxes=(0, 4), embeddings=(0, 2), weights=(0,))
    assert {key: results[f'distill_{key}'].shape for key in shapes} == shapes


@pytest.mark.parametrize('boxes', [[[0, 0, 20, 20]], np.zeros((0, 4))])
def test_nothing_left(boxes):
    check_nothing(CLIPCropEmbedding(Memory(boxes))(copy.deepcopy(CROPPED)))


def test_choice_comes_after_dropping():
    boxes = [[150, 0, 160, 10]] * 3 + [[0, 0, 10, 10]] * 4
    view = sample(matrix=np.eye(3), img_shape=(100, 100))
    by_score = CLIPCropEmbedding(Memory(boxes, [7, 6, 5, 1, 4, 2, 3]), max_proposals=2)
    assert rows_of(by_score(copy.deepcopy(view))) == [4, 6]
    at_random = CLIPCropEmbedding(Memory(boxes), max_proposals=2, order='random')
    np.random.seed(0)
    seen = [rows_of(at_random(copy.deepcopy(view))) for _ in range(60)]
    assert all(len(set(rows)) == 2 for rows in seen)
    assert {row for rows in seen for row in rows} == {3, 4, 5, 6}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(['score', 'random']), st.integers(1, 40))
def test_rows_stay_together_through_large_scale_jitter(seed, order, max_proposals):
    """Each attached row is the projection of the very box that its embedding and weight are of."""
    rng = np.random.default_rng(seed)
    np.random.seed(seed)
    height, width = rng.integers(60, 200, 2).tolist()
    boxes = np.sort(rng.uniform(0, 1, (30, 2, 2)), axis=1).reshape(30, 4)
    boxes *= (width, height, width, height)
    jitter = [
        dict(type='RandomResize', scale=(150, 150), ratio_range=(0.1, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(150, 150), allow_negative_crop=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='Pad', size=(150, 150)),
    ]
    pipeline = Compose([TRANSFORMS.build(transform) for transform in jitter])
    results = pipeline({**sample((height, width)), 'img': np.zeros((height, width, 3), np.uint8)})
    memory = Memory(boxes, weights=np.arange(30) / 2)
    results = CLIPCropEmbedding(memory, max_proposals=max_proposals, order=order)(results)
    (sx, _, tx), (_, sy, ty), _ = results['homography_matrix'].tolist()
    kept = {}
    for row, (x1, y1, x2, y2) in enumerate(boxes.astype(np.float32).tolist()):
        u = sorted((sx * x1 + tx, sx * x2 + tx))
        v = sorted((sy * y1 + ty, sy * y2 + ty))
        w = min(u[1], 150) - max(u[0], 0)
        h = min(v[1], 150) - max(v[0], 0)
        if w >= 1 and h >= 1 and w * h >= 0.5 * (u[1] - u[0]) * (v[1] - v[0]):
            kept[row] = [max(u[0], 0), max(v[0], 0), min(u[1], 150), min(v[1], 150)]
    rows = rows_of(results)
    assert len(rows) == min(max_proposals, len(kept)) and set(rows) <= set(kept)
    if order == 'score':
        assert rows == sorted(kept)[:max_proposals]
    assert results['distill_weights'].tolist() == [row / 2 for row in rows]
    for row, box in zip(rows, results['distill_bboxes'], strict=True):
        np.testing.assert_allclose(box, kept[row], atol=1e-3)


@pytest.mark.parametrize(
    ('weight', 'message'),
    [
        (-1.0, 'a weight is -1.0; expected at least 0'),
        (np.nan, 'the weights hold NaN, infinity or no numbers'),
        ('much', 'the weights hold NaN, infinity or no numbers'),
    ],
)
def test_weights_of_a_store_of_ones_own(weight, message):
    store = Memory([[10, 20, 30, 40], [0, 0, 200, 100]])
    read = store.read

    def weighted(results):
        record = read(results)
        record.weights = np.array([1.0, weight])
        return record

    store.read = weighted
    with pytest.raises(ValueError, match=f'the regions of image 3 in .*Memory.*: {message}'):
        CLIPCropEmbedding(store)(sample())


def test_reads_a_store_by_config(tmp_path):
    shard = EmbeddingStore.create(tmp_path, dict(teacher='memory@0', embed_dims=2), {})
    shard.write([(3, Memory([[10, 20, 30, 40]], weights=[1.5]).record, (100, 200))])
    shard.close()
    store = dict(type='EmbeddingStore', path=str(tmp_path))
    transform = TRANSFORMS.build(dict(type='CLIPCropEmbedding', store=store))
    assert 'max_proposals=300' in repr(transform)
    results = transform(sample())
    np.testing.assert_array_equal(results['distill_bboxes'], [[10, 20, 30, 40]])
    assert results['distill_weights'].tolist() == [1.5]
    with pytest.raises(ValueError, match='image 3'):
        transform(sample((100, 201)))
    other = sample() | dict(img_id=4)
    with pytest.raises(MissingRecordError, match='no record of image 4'):
        transform(copy.deepcopy(other))
    check_nothing(CLIPCropEmbedding(transform.store, allow_missing=True)(other))


@pytest.mark.parametrize(
    'wrong', [dict(order='best'), dict(max_proposals=0), dict(min_visible=1.5)]
)
def test_wrong_parameters(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CLIPCropEmbedding(Memory([]), **wrong)


@pytest.mark.parametrize('kind', ['CLIPCropEmbedding', 'SegmentEmbeddings'])
@pytest.mark.parametrize('store', ['data/store', Path('s'), None, dict(type='BboxOverlaps2D')])
def test_a_store_that_is_none(kind, store):
    with pytest.raises(
        ValueError, match=f'store of {kind} must be .* such as dict.type=.Embed.* fo'
    ):
        TRANSFORMS.build(dict(type=kind, store=store))


def test_a_store_that_does_not_say_what_is_annotated():
    store = Memory([])
    store.path, store.header = 'old', dict(version=2)
    CLIPCropEmbedding(store)
    with pytest.raises(ValueError, match='store at old, of version 2, does not say which rows'):
        CLIPCropEmbedding(store, keep_annotated=True)


def test_unrecorded_motion_is_refused():
    with pytest.raises(ValueError, match='image 3 was changed'):
        CLIPCropEmbedding(Memory([]))(sample(img_shape=(50, 100)))


@given(
    count=st.integers(0, 12),
    most=st.integers(1, 9),
    subset=st.none() | st.integers(1, 9),
    order=st.sampled_from(['score', 'random']),
    keep=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_annotated_rows_and_a_subset(count, most, subset, order, keep, seed):
    """Annotated rows come beside the others, which are of the best of these."""
    rng = np.random.default_rng(seed)
    store = Memory(np.tile([10.0, 20, 30, 40], (count, 1)), rng.permutation(count) / 10)
    annotated = store.record.annotated = rng.random(count) < 0.3
    store.record.weights = rng.random(count).astype(np.float32)
    np.random.seed(seed)
    transform = CLIPCropEmbedding(
        store, max_proposals=most, subset=subset, order=order, keep_annotated=keep
    )
    results = transform(sample())
    rows = rows_of(results)
    apart = set(np.flatnonzero(annotated)) if keep else set()
    ranked = [i for i in np.argsort(-store.record.scores, kind='stable') if i not in apart]
    best = ranked[:subset]
    assert set(rows[: len(apart)]) == apart
    others = rows[len(apart) :]
    assert len(others) == min(most, len(best)) and set(others) <= set(best)
    if order == 'score':
        assert others == best[:most]
    np.testing.assert_array_equal(results['distill_weights'], store.record.weights[rows])


def test_rows_are_drawn_anew_each_time():
    transform = CLIPCropEmbedding(Memory(np.tile([10.0, 20, 30, 40], (40, 1))), 10, 'random')
    assert len({tuple(rows_of(transform(sample()))) for _ in range(5)}) == 5
