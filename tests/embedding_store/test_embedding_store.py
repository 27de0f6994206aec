"""The embedding store: what is written is read, and nothing is lost or mixed up."""

import errno
import logging
import os
import pickle
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import DATA_SAMPLERS, TASK_UTILS
from mmengine.logging import MMLogger
from small_store import DATASET, SOURCE, contents, killed_at_write, make_record, sample, write
from torch.utils.data import DataLoader

from mmdet_vild.embedding_store import (
    DamagedRecordError,
    EmbeddingRecord,
    EmbeddingShard,
    EmbeddingStore,
    MissingRecordError,
    dataset_fingerprint,
)
from mmdet_vild.embedding_store import shard as embedding_shard
from mmdet_vild.embedding_store.repair import damage

pytestmark = pytest.mark.onedl


def same(one, other):
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ('boxes', 'scores', 'embeddings')
    )


@pytest.fixture
def store(tmp_path):
    write(tmp_path / 'store', [1, 2])
    return EmbeddingStore(tmp_path / 'store')


def test_round_trip_in_descending_order(store):
    record = make_record(seed=1)
    reopened = TASK_UTILS.build(dict(type='EmbeddingStore', path=str(store.path)))
    assert (reopened.teacher, reopened.embed_dims) == (SOURCE['teacher'], 8)
    assert reopened.header['crop_scales'] == [1.0, 1.5] and reopened.header['dataset'] == DATASET
    found = reopened.read(sample(1))
    order = sorted(range(5), key=lambda i: -record.scores[i])
    np.testing.assert_array_equal(found.boxes, record.boxes[order])
    np.testing.assert_array_equal(found.scores, record.scores[order])
    np.testing.assert_array_equal(found.embeddings, record.embeddings[order].astype(np.float16))
    assert found.embeddings.dtype == store.header['dtype'] == 'float16'
    assert 1 in reopened and 3 not in reopened and len(reopened) == 2


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
    expected = dict(writes)
    found = EmbeddingStore(path)
    assert sorted(found.img_ids(), key=repr) == sorted(expected, key=repr)
    for img_id, seed in expected.items():
        record = make_record(seed, seed=seed)
        order = np.argsort(-record.scores, kind='stable')
        record = EmbeddingRecord(
            record.boxes[order], record.scores[order], record.embeddings[order].astype(np.float16)
        )
        assert same(found.read(sample(img_id)), record)


def test_missing_store_and_missing_image(store, tmp_path):
    with pytest.raises(FileNotFoundError, match='EmbeddingStoreWriter'):
        EmbeddingStore(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=r'no record of image 7 .*7.jpg'):
        store.read(sample(7))


def test_other_image_size_is_refused(store):
    with pytest.raises(ValueError, match=r'image 1 .*\(60, 70\).*\(70, 60\)'):
        store.read(sample(1, (70, 60)))


def test_what_does_not_fit_is_not_written(tmp_path):
    shard = EmbeddingStore.create(tmp_path, SOURCE, DATASET)
    bad = make_record()
    bad.embeddings[2, 3] = np.nan
    for record, message in [
        (make_record(dims=9), 'image 9.*another teacher'),
        (bad, 'image 9.*embeddings hold NaN'),
    ]:
        with pytest.raises(ValueError, match=message):
            shard.write([(8, make_record(), (60, 70)), (9, record, (60, 70))])
    with pytest.raises(ValueError, match="'null' is no id of an image"):
        shard.write([(None, make_record(), (60, 70))])
    assert len(shard) == 0
    shard.close()
    with pytest.raises(ValueError, match='opened for reading'):
        EmbeddingShard(shard.path).write([(8, make_record(), (60, 70))])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            dict(teacher='other@1'),
            "teacher is 'mini-clip@0123456789abcdef' in the store and 'other",
        ),
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


def test_another_format_is_refused(store, monkeypatch):
    monkeypatch.setattr(EmbeddingStore, 'VERSION', 2)
    with pytest.raises(ValueError, match='version 1, but this release reads .* version 2'):
        EmbeddingStore(store.path)


def test_another_annotation_file_is_refused(tmp_path):
    file = tmp_path / 'train.json'
    file.write_text('[1]')
    EmbeddingStore.create(tmp_path / 's', SOURCE, dataset_fingerprint(str(file))).close()
    store = EmbeddingStore(tmp_path / 's')
    store.check_dataset(str(file))
    other = tmp_path / 'other.json'
    other.write_text('[12]')
    with pytest.raises(ValueError, match='another annotation file than .*other.json.*bytes is 3'):
        store.check_dataset(str(other))
    file.write_text('[2]')
    with pytest.raises(ValueError, match='another annotation file than .*sha256 is'):
        store.check_dataset(str(file))


def test_files_of_another_kind(tmp_path):
    (tmp_path / 'shard-00000.sqlite').write_bytes(b'no database at all' * 100)
    with pytest.raises(DamagedRecordError, match='shard-00000.sqlite'):
        EmbeddingStore(tmp_path)
    (tmp_path / 'shard-00000.sqlite').unlink()
    sqlite3.connect(tmp_path / 'shard-00000.sqlite').execute('CREATE TABLE other (x)')
    with pytest.raises(
        DamagedRecordError, match='holds what no embedding store does: CREATE TABLE other'
    ):
        EmbeddingStore(tmp_path)


def test_shards_are_read_together_while_they_are_written(tmp_path):
    first = EmbeddingStore.create(tmp_path, SOURCE, DATASET, shard=0)
    second = EmbeddingStore.create(tmp_path, SOURCE, DATASET, shard=1)
    store = EmbeddingStore(tmp_path)
    for img_id in range(6):
        (first, second)[img_id % 2].write([(img_id, make_record(seed=img_id), (60, 70))])
        assert len(store) == img_id + 1 and img_id in store
        assert len(store.read(sample(img_id))) == 5
    first.close()
    second.close()


def test_a_second_writer_is_refused(tmp_path):
    """From another process; when the first one is gone, it may."""
    code = (
        'import sys; from mmdet_vild.embedding_store import EmbeddingStore\n'
        f'shard = EmbeddingStore.create({str(tmp_path)!r}, {SOURCE!r}, {DATASET!r})\n'
        'print("open", flush=True); sys.stdin.read()'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert 'open\n' in iter(process.stdout.readline, '')  # OneDL's import prints, too
    with pytest.raises(BlockingIOError, match='another process is writing to this shard'):
        EmbeddingStore.create(tmp_path, SOURCE, DATASET)
    EmbeddingStore.create(tmp_path, SOURCE, DATASET, shard=1).close()
    process.kill()
    process.communicate()
    EmbeddingStore.create(tmp_path, SOURCE, DATASET).close()


def work_until_killed(path, ready):
    """Write, and load data by a worker, which outlives the process."""
    shard = EmbeddingStore.create(path, SOURCE, DATASET)
    for _ in DataLoader(range(1000), num_workers=1):
        shard.write([(0, make_record(), (60, 70))])
        ready.set()


def test_goes_on_at_once_though_workers_live_on(tmp_path):
    """They have what was open when they were forked, the lock's file too."""
    context = get_context('fork')
    ready = context.Event()
    process = context.Process(target=work_until_killed, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    process.kill()
    process.join()
    EmbeddingStore.create(tmp_path, SOURCE, DATASET).close()


def test_a_writer_waits_for_a_reader(store, monkeypatch):
    """Who reads the whole file may take minutes; the run goes on then."""
    monkeypatch.setattr(embedding_shard, 'BUSY_TIMEOUT', 0.05)
    shard = EmbeddingStore.create(store.path, SOURCE, DATASET)
    reader = sqlite3.connect(shard.path)
    reader.execute('BEGIN')
    reader.execute('SELECT count(*) FROM records').fetchall()
    messages, handler = [], logging.Handler()

    def emit(record):
        messages.append(record.getMessage())
        if len(messages) == 2:
            reader.rollback()

    handler.emit = emit
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    shard.write([(3, make_record(), (60, 70)), (4, make_record(), (60, 70))])
    logger.removeHandler(handler)
    shard.close()
    assert len(messages) == 2 and 'writing waits until they are done' in messages[0]
    assert EmbeddingStore(store.path).img_ids() == [1, 2, 3, 4]


def test_what_a_killed_writer_left_is_not_put_into_the_next_file(tmp_path):
    """Where the shard was deleted by hand, and what SQLite keeps beside it was not."""
    write(tmp_path, range(8), n=2000)
    killed_at_write(1, write, tmp_path, [9])
    (tmp_path / 'shard-00000.sqlite').unlink()
    assert (tmp_path / 'shard-00000.sqlite-journal').exists()
    write(tmp_path, range(3), n=2000)
    (file,) = (shard.path for shard in EmbeddingStore(tmp_path).shards)
    assert list(damage(file)) == [] and list(contents(tmp_path)) == [0, 1, 2]


def go_on(path, count):
    """What a run does: write what is left, an image after the other."""
    shard = EmbeddingStore.create(path, SOURCE, DATASET)
    done = set(shard.img_ids())
    for img_id in range(count):
        if img_id not in done:
            shard.write([(img_id, make_record(40, seed=img_id), (60, 70))])
    shard.close()


def test_killed_at_50_moments(tmp_path):
    """No half record, and nothing lost that was there; in the end all is as if undisturbed."""
    rng = random.Random(0)
    count, done, kills = 5000, 0, 0
    while kills < 50:
        process = get_context('fork').Process(target=go_on, args=(tmp_path / 'killed', count))
        process.start()
        time.sleep(rng.uniform(0.005, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, 'too fast to be killed'
        kills += 1
        if not (tmp_path / 'killed' / 'shard-00000.sqlite').exists():
            continue
        store = EmbeddingStore(tmp_path / 'killed')
        assert list(damage(store.shards[0].path)) == []
        found = store.img_ids()
        assert found == list(range(len(found))) and len(found) >= done
        done = len(found)
    assert 10 < done < count
    go_on(tmp_path / 'killed', done + 20)
    go_on(tmp_path / 'undisturbed', done + 20)
    killed, undisturbed = (EmbeddingStore(tmp_path / name) for name in ('killed', 'undisturbed'))
    assert killed.header == undisturbed.header
    assert killed.img_ids() == undisturbed.img_ids() == list(range(done + 20))
    for img_id in range(done + 20):
        assert same(killed.read(sample(img_id)), undisturbed.read(sample(img_id)))


def test_disk_full(tmp_path):
    """What was written before stays; with room again it goes on."""

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails, as on a full disk
        try:
            go_on(tmp_path, 1000)
        except OSError as error:
            os._exit(42 if 'shard-00000.sqlite' in str(error) else 43)
        os._exit(0)

    process = get_context('fork').Process(target=fill)
    process.start()
    process.join()
    assert process.exitcode == 42
    store = EmbeddingStore(tmp_path)
    done = len(store)
    assert done > 10 and list(damage(store.shards[0].path)) == []
    go_on(tmp_path, done + 5)
    assert len(EmbeddingStore(tmp_path)) == done + 5


class _Reader:
    def __init__(self, store):
        self.store = store

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.store.read(sample(index + 1)).boxes.copy()


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_read_by_workers(store, context):
    assert len(store.read(sample(1))) == 5  # the connection is open when it is forked
    loader = DataLoader(_Reader(store), num_workers=2, multiprocessing_context=context)
    for img_id, (boxes,) in zip((1, 2), loader, strict=True):
        np.testing.assert_array_equal(boxes, store.read(sample(img_id)).boxes)
    copied = pickle.loads(pickle.dumps(store))
    assert same(copied.read(sample(2)), store.read(sample(2)))


@pytest.fixture
def as_somebody_else():
    """Runs a function in a process that may read what others wrote, and not write there."""

    def run(function):
        def child():
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            function()

        process = get_context('fork').Process(target=child)
        process.start()
        return process

    return run


def let_others_read(path):
    """Everybody may read; who is not root may not write, nor may the owner."""
    for parent in (path, *path.parents[:4]):  # of pytest, and with xdist one more
        parent.chmod(0o555 if parent == path and os.geteuid() else 0o755)


def test_read_without_permission_to_write(store, as_somebody_else):
    def read():
        with pytest.raises(PermissionError):
            (store.path / 'new').touch()
        assert len(EmbeddingStore(store.path).read(sample(1))) == 5

    let_others_read(store.path)
    try:
        process = as_somebody_else(read)
        process.join()
        assert process.exitcode == 0
    finally:
        store.path.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason='needs root, to read as another user')
def test_read_without_permission_while_another_writes(tmp_path, as_somebody_else):
    def read():
        opened = EmbeddingStore(tmp_path)
        while 400 not in opened:
            assert len(opened.read(sample(0))) == 5
            assert len(EmbeddingStore(tmp_path).read(sample(0))) == 5

    write(tmp_path, [0])
    let_others_read(tmp_path)
    process = as_somebody_else(read)
    write(tmp_path, range(1, 401))
    process.join()
    assert process.exitcode == 0


def _begin_and_die(path):
    """What a writer leaves that is killed when some of a record is in the file already."""
    connection = sqlite3.connect(path / 'shard-00000.sqlite')
    connection.execute('PRAGMA cache_size = 1')
    connection.execute('BEGIN')
    values = "VALUES (99, '99', 1, 1, 1, 1, zeroblob(1000000))"
    connection.execute(f'INSERT INTO records {values}')
    os.kill(os.getpid(), signal.SIGKILL)


def test_half_a_record_in_the_file(store, as_somebody_else):
    """Whoever may write and opens it next, rolls it back; others are told so."""
    before = (store.path / 'shard-00000.sqlite').read_bytes()
    process = get_context('fork').Process(target=_begin_and_die, args=(store.path,))
    process.start()
    process.join()
    assert (store.path / 'shard-00000.sqlite').read_bytes() != before
    assert (store.path / 'shard-00000.sqlite-journal').exists()

    def read():
        with pytest.raises(OSError, match='a writer was killed here'):
            EmbeddingStore(store.path)

    if os.geteuid() == 0:
        let_others_read(store.path)
        process = as_somebody_else(read)
        process.join()
        assert process.exitcode == 0
    assert EmbeddingStore(store.path).img_ids() == [1, 2]
    assert (store.path / 'shard-00000.sqlite').read_bytes() == before


def test_database_full(store):
    """SQLite's own word for a full disk."""
    shard = EmbeddingStore.create(store.path, SOURCE, DATASET)
    pages = shard._execute('PRAGMA page_count').fetchone()[0]
    shard._execute(f'PRAGMA max_page_count = {pages}')
    with pytest.raises(OSError, match='the disk is full.*make room and run') as error:
        shard.write([(3, make_record(2000), (60, 70))])
    assert error.value.errno == errno.ENOSPC
    assert shard.img_ids() == [1, 2]
    shard.close()


def test_ids_of_numpy_and_of_any_script(tmp_path):
    img_ids = [np.int64(3), 'a/b', '3', 'Straße 東京', 2**62]
    shard = EmbeddingStore.create(tmp_path, SOURCE, DATASET)
    for img_id in img_ids:
        shard.write([(img_id, make_record(3), (60, 70))])
    shard.close()
    store = EmbeddingStore(tmp_path)
    assert store.img_ids() == [3, *img_ids[1:]]
    assert all(len(store.read(sample(img_id))) == 3 for img_id in img_ids)


def test_read_by_threads(store):
    with ThreadPoolExecutor(4) as pool:
        lengths = list(pool.map(lambda i: len(store.read(sample(1 + i % 2))), range(40)))
    assert lengths == [5] * 40


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
    monkeypatch.setattr(EmbeddingShard, 'read', lambda s, i: asked.append(i) or read(s, i))
    for img_id in range(12):
        store.read(sample(img_id))
    assert asked == list(range(12))
    write(tmp_path, [12], shard=3)
    for _ in range(2):
        assert len(store.read(sample(12))) == 5
    assert asked[12:] == [12] * 5
    with pytest.raises(MissingRecordError, match='no record of image 3.0'):
        store.read(sample(3.0))


def test_the_list_of_images_is_read_from_the_index(store):
    statements = []
    shard = store.shards[0]
    shard._connected().set_trace_callback(statements.append)
    assert shard.img_ids() == [1, 2]
    (statement,) = statements
    plan = shard._execute(f'EXPLAIN QUERY PLAN {statement}').fetchall()
    assert 'COVERING INDEX' in plan[0][-1]


class _Dataset:
    def __len__(self):
        return 6

    def get_data_info(self, index):
        return dict(img_id=10 + index)


def test_unfinished_images(tmp_path):
    sampler = DATA_SAMPLERS.build(dict(type='UnfinishedSampler', dataset=_Dataset(), seed=1))
    assert list(sampler) == [0, 1, 2, 3, 4, 5]
    sampler.leave_out(str(tmp_path / 's'))  # there is none yet
    assert list(sampler) == [0, 1, 2, 3, 4, 5]
    write(tmp_path / 's', [11, 14])
    sampler.leave_out(str(tmp_path / 's'))
    assert list(sampler) == [0, 2, 3, 5] and len(sampler) == 4
    write(tmp_path / 's', [10, 12, 13, 15], shard=3)
    sampler.leave_out(str(tmp_path / 's'))
    assert list(sampler) == []
