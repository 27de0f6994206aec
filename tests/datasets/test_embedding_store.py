import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from mmdet.registry import TASK_UTILS
from torch.utils.data import DataLoader

from mmdet_vild.datasets import EmbeddingRecord, NpzEmbeddingStore

pytestmark = pytest.mark.onedl

TEACHER = 'mini-clip@0123456789abcdef'


def make_record(n=5, dims=8, seed=0):
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.uniform(0, 50, (n, 2, 2)), axis=1).reshape(n, 4).astype(np.float32)
    embeddings = rng.standard_normal((n, dims)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return EmbeddingRecord(boxes, rng.uniform(0, 1, n).astype(np.float32), embeddings)


def sample(img_id, size=(60, 70)):
    return dict(img_id=img_id, img_path=f'{img_id}.jpg', ori_shape=size)


@pytest.fixture
def store(tmp_path):
    store = NpzEmbeddingStore.create(tmp_path / 'store', TEACHER, 8)
    for img_id in (1, 2):
        store.write(img_id, make_record(seed=img_id), (60, 70))
    return store


def test_round_trip_in_descending_order(store):
    record = make_record(seed=1)
    reopened = TASK_UTILS.build(dict(type='NpzEmbeddingStore', path=str(store.path)))
    assert (reopened.teacher, reopened.embed_dims) == (TEACHER, 8)
    found = reopened.read(sample(1))
    order = sorted(range(5), key=lambda i: -record.scores[i])
    np.testing.assert_array_equal(found.boxes, record.boxes[order])
    np.testing.assert_array_equal(found.scores, record.scores[order])
    np.testing.assert_allclose(found.embeddings, record.embeddings[order], atol=1e-3)
    assert found.embeddings.dtype == np.float16
    assert 1 in reopened and 3 not in reopened and len(reopened) == 2


def test_no_regions_and_odd_image_ids(store):
    store.write('a/../b c', make_record(0), (60, 70))
    found = store.read(sample('a/../b c'))
    assert found.boxes.shape == (0, 4) and found.embeddings.shape == (0, 8)
    assert {file.parent for file in store.path.rglob('*.npz')} == {store.path}


def test_missing_store_and_missing_image(store, tmp_path):
    with pytest.raises(FileNotFoundError, match='EmbeddingStoreWriter'):
        NpzEmbeddingStore(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match='no record of image 7 .*7.jpg'):
        store.read(sample(7))


def test_other_image_size_is_refused(store):
    with pytest.raises(ValueError, match=r'image 1 .*\(60, 70\).*\(70, 60\)'):
        store.read(sample(1, (70, 60)))


@pytest.mark.parametrize(
    'content', [b'', b'PK\x03\x04 cut off', b'\x93NUMPY', b'{"boxes": []}'], ids=str
)
def test_malformed_record_is_refused(store, content):
    (store.path / '1.npz').write_bytes(content)
    with pytest.raises(ValueError, match='image 1 .* cannot be read'):
        store.read(sample(1))


def test_pickled_arrays_are_not_loaded(store):
    bad = np.array([{'code': 'any'}], dtype=object)
    np.savez(store.path / '1.npz', boxes=bad, scores=bad, embeddings=bad, image_size=bad)
    with pytest.raises(ValueError, match='allow_pickle=False'):
        store.read(sample(1))


def test_record_of_another_width_is_refused(store):
    with pytest.raises(ValueError, match='another teacher'):
        store.write(3, make_record(dims=9), (60, 70))
    wide = make_record(dims=9)
    np.savez(store.path / '1.npz', **vars(wide), image_size=np.array([60, 70]))
    with pytest.raises(ValueError, match='image 1 .*another teacher'):
        store.read(sample(1))


def test_infinite_values_are_not_written(store):
    record = make_record()
    record.embeddings[2, 3] = np.nan
    with pytest.raises(ValueError, match='image 9.*embeddings hold NaN'):
        store.write(9, record, (60, 70))
    assert 9 not in store


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(version=2), 'version 2, but this release reads'),
        (dict(format='other'), "format 'other'"),
        (dict(teacher=None), None),
        ('not json', 'not the header'),
        ('{}', 'not the header'),
        ('[]', 'not the header'),
    ],
)
def test_other_headers(store, change, message):
    file = store.path / 'header.json'
    if isinstance(change, str):
        file.write_text(change)
    else:
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    if message:
        with pytest.raises(ValueError, match=message):
            NpzEmbeddingStore(store.path)
    else:
        with pytest.raises(ValueError, match='belongs to the teacher None'):
            NpzEmbeddingStore.create(store.path, TEACHER, 8)


def test_another_teacher_is_refused(store):
    with pytest.raises(ValueError, match=f'{TEACHER}.*other@1'):
        NpzEmbeddingStore.create(store.path, 'other@1', 8)
    with pytest.raises(ValueError, match='width 8.*width 9'):
        NpzEmbeddingStore.create(store.path, TEACHER, 9)
    assert len(NpzEmbeddingStore.create(store.path, TEACHER, 8)) == 2


def test_many_writers_at_once(tmp_path):
    """One teacher wins; the ranks of the other run are told, and no file is left half-written."""

    def run(rank):
        teacher = f'teacher@{rank % 2}'
        try:
            store = NpzEmbeddingStore.create(tmp_path / 'store', teacher, 8)
        except ValueError:
            return None
        for img_id in range(10):
            store.write(img_id, make_record(seed=img_id), (60, 70))
        return teacher

    with ThreadPoolExecutor(8) as pool:
        winners = set(pool.map(run, range(8))) - {None}
    store = NpzEmbeddingStore(tmp_path / 'store')
    assert winners == {store.teacher} and len(store) == 10
    assert all(len(store.read(sample(img_id))) == 5 for img_id in range(10))
    assert len(list(store.path.iterdir())) == 11


class _Reader:
    def __init__(self, store):
        self.store = store

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.store.read(sample(index + 1)).boxes


def test_read_by_workers(store):
    loader = DataLoader(_Reader(store), num_workers=2, multiprocessing_context='fork')
    assert len(list(loader)) == 2
    copied = pickle.loads(pickle.dumps(store))  # what spawned workers receive
    np.testing.assert_array_equal(copied.read(sample(2)).boxes, store.read(sample(2)).boxes)
