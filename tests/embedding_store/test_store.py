"""The embedding store: what is written is read, whatever it was written by, and not mixed up."""

import gzip
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import TASK_UTILS
from small_store import DATASET, SOURCE, contents, make_record, sample, write

from mmdet_vild.embedding_store import (
    DamagedRecordError,
    EmbeddingRecord,
    EmbeddingShard,
    EmbeddingStore,
    MissingRecordError,
    dataset_fingerprint,
)
from mmdet_vild.embedding_store.shard import img_id_of

pytestmark = pytest.mark.onedl


@pytest.fixture
def store(tmp_path):
    write(tmp_path / 'store', [1, 2])
    return EmbeddingStore(tmp_path / 'store')


def test_round_trip_in_descending_order(store):
    record = make_record(seed=1)
    reopened = TASK_UTILS.build(dict(type='EmbeddingStore', path=str(store.path)))
    assert (reopened.teacher, reopened.embed_dims) == (SOURCE['teacher'], 8)
    assert reopened.header['crop_scales'] == [1.0, 1.5] and reopened.header['dataset'] == DATASET
    assert (reopened.header['version'], reopened.header['dtype']) == (3, 'float16')
    found = reopened.read(sample(1))
    order = sorted(range(5), key=lambda i: -record.scores[i])
    for name in ('boxes', 'scores', 'weights'):
        np.testing.assert_array_equal(getattr(found, name), getattr(record, name)[order])
    np.testing.assert_array_equal(found.embeddings, record.embeddings[order].astype(np.float16))
    assert found.embeddings.dtype == np.float16 and len(reopened) == 2


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9) | st.text(max_size=5), st.integers(0, 3)),
        min_size=1,
        max_size=9,
    )
)
def test_the_last_record_of_an_image_counts(tmp_path_factory, writes):
    path = tmp_path_factory.mktemp('store')
    shard = EmbeddingStore.create(path, SOURCE, DATASET)
    for img_id, seed in writes:
        shard.write([(img_id, make_record(seed, seed=seed), (60, 70))])
    shard.close()
    expected = {img_id: make_record(seed, seed=seed).to_bytes() for img_id, seed in writes}
    assert contents(path) == expected


@pytest.fixture
def version_1(tmp_path):
    """As the release before weights wrote it: image 7 with two regions, and 'a/b' with none."""
    content = (Path(__file__).parent / 'version_1.sqlite.gz').read_bytes()
    (tmp_path / 'shard-00000.sqlite').write_bytes(gzip.decompress(content))
    return tmp_path


def test_reads_version_1(version_1):
    store = EmbeddingStore(version_1)
    assert store.header['version'] == 1 and store.img_ids() == [7, 'a/b']
    found = store.read(sample(7))
    assert found.boxes.tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert found.scores.tolist() == [0.5, 0.25] and found.embeddings.tolist() == [[0, 1], [1, 0]]
    assert found.weights.tolist() == [1, 1] and found.weights.dtype == np.float32
    assert len(store.read(sample('a/b', (20, 30))).weights) == 0


def test_goes_on_with_version_1(version_1):
    """In its own form, which has no place for weights, in a shard that was begun and a new one."""
    source = dict(teacher='clip@1', embed_dims=2)
    record = make_record(dims=2)
    unweighted = EmbeddingRecord(record.boxes, record.scores, record.embeddings)
    for number in (0, 1):
        shard = EmbeddingStore.create(version_1, source, dict(bytes=7), number)
        assert shard.header['version'] == 1
        shard.write([(number, unweighted, (60, 70))])
        with pytest.raises(ValueError, match='version 1 cannot hold weights other than 1'):
            shard.write([(9, record, (60, 70))])
        shard.finish()
    store = EmbeddingStore(version_1)
    assert store.img_ids() == [7, 'a/b', 0, 1]
    for number in (0, 1):
        assert store.read(sample(number)).to_bytes() == unweighted.to_bytes()


def test_what_is_missing_or_of_another_size(store, tmp_path):
    with pytest.raises(FileNotFoundError, match='EmbeddingStoreWriter'):
        EmbeddingStore(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=r'no record of image 7 .*7.jpg'):
        store.read(sample(7))
    with pytest.raises(ValueError, match=r'image 1 .*\(60, 70\).*\(70, 60\)'):
        store.read(sample(1, (70, 60)))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(teacher='other@1'), "teacher is 'mini-clip@0.*' in the store and 'other@1' here"),
        (dict(embed_dims=9), 'embed_dims is 8 in the store and 9 here'),
        (dict(crop_scales=[1.0]), r'crop_scales is \[1.0, 1.5\] in the store and \[1.0\] here'),
        (dict(resize='pad'), "resize is None in the store and 'pad' here"),
    ],
)
def test_embeddings_of_another_origin_are_refused(store, change, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingStore.create(store.path, SOURCE | change, DATASET, shard=1)
    with pytest.raises(ValueError, match="dataset.sha256 is '0123' in the store and '4567' here"):
        EmbeddingStore.create(store.path, SOURCE, DATASET | dict(sha256='4567'))
    assert len(EmbeddingStore(store.path)) == 2


def test_shards_of_different_stores_are_refused(store, tmp_path):
    write(tmp_path / 'other', [3], shard=1, source=SOURCE | dict(teacher='other@1'))
    (tmp_path / 'other' / 'shard-00001.sqlite').rename(store.path / 'shard-00001.sqlite')
    with pytest.raises(ValueError, match='shard-00001.sqlite .* another store .* teacher is'):
        EmbeddingStore(store.path)


@pytest.mark.parametrize('change', [dict(version=4), dict(version=0), dict(format='other')])
def test_another_format_is_refused(store, change):
    header = store.header | change
    EmbeddingShard.create(store.path / 'shard-00000-a.sqlite', header).close()
    with pytest.raises(ValueError, match='has format .*, but this release reads .* extract'):
        EmbeddingStore(store.path)


def test_another_annotation_file_is_refused(tmp_path):
    file = tmp_path / 'train.json'
    file.write_text('[1]')
    EmbeddingStore.create(tmp_path / 's', SOURCE, dataset_fingerprint(str(file))).close()
    store = EmbeddingStore(tmp_path / 's')
    store.check_dataset(str(file))
    for content, difference in (('[12]', 'bytes is 3'), ('[2]', 'sha256 is')):
        file.write_text(content)
        message = f'another annotation file than .*train.json.*{difference}'
        with pytest.raises(ValueError, match=message):
            store.check_dataset(str(file))


def test_shards_are_read_together_while_they_are_written(tmp_path):
    first = EmbeddingStore.create(tmp_path, SOURCE, DATASET, shard=0)
    second = EmbeddingStore.create(tmp_path, SOURCE, DATASET, shard=1)
    store = EmbeddingStore(tmp_path)
    for img_id in range(6):
        (first, second)[img_id % 2].write([(img_id, make_record(seed=img_id), (60, 70))])
        assert len(store) == img_id + 1
        assert len(store.read(sample(img_id))) == 5
    first.close()
    second.close()


def test_ids_of_numpy_and_of_any_script(tmp_path):
    img_ids = [np.int64(3), 'a/b', '3', 'Straße 東京', 2**62]
    write(tmp_path, img_ids, n=3)
    store = EmbeddingStore(tmp_path)
    assert store.img_ids() == [3, *img_ids[1:]]
    assert all(len(store.read(sample(img_id))) == 3 for img_id in img_ids)


def test_an_image_in_two_shards_counts_once(tmp_path):
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [3, 4], shard=1)
    store = EmbeddingStore(tmp_path)
    assert store.img_ids() == [1, 2, 3, 4] and len(store) == 4


def test_one_shard_is_asked(tmp_path, monkeypatch):
    """The one that has the image; all of them for one that came later."""
    for shard in range(4):
        write(tmp_path, range(3 * shard, 3 * shard + 3), shard=shard)
    store, asked, read = EmbeddingStore(tmp_path), [], EmbeddingShard.read

    def counted(shard, key, **kwargs):
        asked.append(key)
        return read(shard, key, **kwargs)

    monkeypatch.setattr(EmbeddingShard, 'read', counted)
    for img_id in range(12):
        store.read(sample(img_id))
    assert asked == list(map(str, range(12)))
    write(tmp_path, [12], shard=3)
    for _ in range(2):
        assert len(store.read(sample(12))) == 5
    assert asked[12:] == ['12'] * 5
    with pytest.raises(MissingRecordError, match='no record of image 3.0'):
        store.read(sample(3.0))


def test_flipped_bits_anywhere(tmp_path):
    """What is read is right; and what is read as a whole, complete."""
    write(tmp_path, range(30), n=20)
    file = tmp_path / 'shard-00000.sqlite'
    original, expected, rng = file.read_bytes(), contents(tmp_path), random.Random(2)
    used = [place for place, byte in enumerate(original) if byte]
    pages = [[p for p in used if p // 16384 == page] for page in range(len(original) // 16384)]
    noticed = 0
    for attempt in range(400):
        data = bytearray(original)
        if attempt % 5:
            data[rng.choice(rng.choice(pages))] ^= 1 << rng.randrange(8)
        else:
            del data[rng.randrange(len(data)) :]
        file.write_bytes(data)
        try:
            store = EmbeddingStore(tmp_path)
            for img_id in store.img_ids():
                with suppress(DamagedRecordError):
                    assert store.read(sample(img_id)).to_bytes() == expected[img_id]
            all_of_it = store.shard_of(check=True).items()
            found = {img_id_of(key): shard.read(key, listed=True)[0] for key, shard in all_of_it}
            assert {img_id: record.to_bytes() for img_id, record in found.items()} == expected
        except (DamagedRecordError, OSError) as error:
            noticed += 1
            assert str(file) in str(error)
    assert 200 < noticed < 400


@pytest.mark.parametrize('path', [5, None, ['a', 'b']])
def test_a_path_that_is_none(path):
    with pytest.raises(ValueError, match='path of EmbeddingStore must be a text, found'):
        TASK_UTILS.build(dict(type='EmbeddingStore', path=path))
