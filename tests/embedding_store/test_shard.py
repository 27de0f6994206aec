"""A shard: whatever happens to who writes it and who reads it, nothing is lost or half there."""

import os
import pickle
import random
import resource
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from small_store import (
    DATASET,
    SOURCE,
    contents,
    half_a_transaction,
    killed,
    killed_at_write,
    make_record,
    sample,
    write,
)
from torch.utils.data import DataLoader

from mmdet_vild.embedding_store import DamagedRecordError, EmbeddingShard, EmbeddingStore
from mmdet_vild.embedding_store import shard as shard_module


@pytest.fixture
def file(tmp_path):
    """A shard of images 1 and 2."""
    write(tmp_path / 'store', [1, 2])
    return tmp_path / 'store' / 'shard-00000.sqlite'


def test_what_does_not_fit_is_not_written(tmp_path):
    shard = EmbeddingStore.create(tmp_path, SOURCE, DATASET)
    right = (8, make_record(), (60, 70))
    with pytest.raises(ValueError, match='image 9.*another teacher'):
        shard.write([right, (9, make_record(dims=9), (60, 70))])
    with pytest.raises(ValueError, match="'null' is no id of an image"):
        shard.write([right, (None, make_record(), (60, 70))])
    assert len(shard) == 0
    shard.close()
    for finish in (EmbeddingShard.close, EmbeddingShard.finish):
        shard = EmbeddingShard(shard.path)
        finish(shard)
        with pytest.raises(ValueError, match='opened for reading'):
            shard.write([right])


def test_damage_is_named(file):
    """A lost record is no missing one, which an image without regions may be."""
    store = EmbeddingStore(file.parent)
    assert store.img_ids() == [1, 2]
    with sqlite3.connect(file) as connection:
        connection.execute('DELETE FROM records WHERE number = 1')
    with pytest.raises(DamagedRecordError, match='image 1: the record is lost'):
        store.read(sample(1))
    data = bytearray(file.read_bytes())
    data[data.index(make_record(seed=2).to_bytes()[:64]) + 30] ^= 16
    file.write_bytes(data)
    with pytest.raises(DamagedRecordError, match='image 2: the checksum differs; delete this file'):
        EmbeddingStore(file.parent).read(sample(2))
    file.write_bytes(b'no database at all' * 100)
    with pytest.raises(DamagedRecordError, match='shard-00000.sqlite.*delete this file and run'):
        EmbeddingStore(file.parent)


def work_until_killed(path, ready):
    """Write, and load data by a worker, which outlives the process."""
    shard = EmbeddingStore.create(path, SOURCE, DATASET)
    for _ in DataLoader(range(1000), num_workers=1):
        shard.write([(0, make_record(), (60, 70))])
        ready.set()


def test_a_second_writer_is_refused(tmp_path):
    """When the first one is gone, it may, though workers live on that have its lock's file."""
    context = get_context('fork')
    ready = context.Event()
    process = context.Process(target=work_until_killed, args=(tmp_path, ready))
    process.start()
    assert ready.wait(60)
    with pytest.raises(BlockingIOError, match='another process is writing to this shard'):
        EmbeddingStore.create(tmp_path, SOURCE, DATASET)
    EmbeddingStore.create(tmp_path, SOURCE, DATASET, shard=1).close()
    process.kill()
    process.join()
    EmbeddingStore.create(tmp_path, SOURCE, DATASET).close()


def test_a_writer_waits_for_a_reader(file):
    reader = sqlite3.connect(file, check_same_thread=False)
    reader.execute('BEGIN')
    reader.execute('SELECT count(*) FROM records').fetchall()
    threading.Timer(0.3, reader.rollback).start()
    write(file.parent, [3])
    assert EmbeddingStore(file.parent).img_ids() == [1, 2, 3]


@pytest.mark.parametrize('finish', [False, True])
def test_a_locked_file(tmp_path, monkeypatch, finish):
    """Is not damaged; and a finished one is read without locks."""
    monkeypatch.setattr(shard_module, 'BUSY_TIMEOUT', 0.01)
    write(tmp_path, [1, 2], finish=finish)
    other = sqlite3.connect(tmp_path / 'shard-00000.sqlite')
    other.execute('BEGIN EXCLUSIVE')
    if finish:
        assert set(contents(tmp_path)) == {1, 2}
    else:
        with pytest.raises(OSError, match='its header: database is locked'):
            EmbeddingStore(tmp_path)


def test_a_finished_file_never_changes(tmp_path):
    """What is written later goes into files beside it, and counts where it is of the same image."""
    write(tmp_path, [1, 2], finish=True)
    file, opened = tmp_path / 'shard-00000.sqlite', EmbeddingStore(tmp_path)
    before = file.read_bytes()
    write(tmp_path, [3])
    write(tmp_path, [4, 2], n=6, finish=True)
    write(tmp_path, [5])
    assert file.read_bytes() == before and opened.img_ids() == [1, 2]
    assert sorted(each.name for each in tmp_path.glob('*.sqlite')) == [
        'shard-00000-more-more.sqlite',
        'shard-00000-more.sqlite',
        'shard-00000.sqlite',
    ]
    found = EmbeddingStore(tmp_path)
    assert sorted(found.img_ids()) == [1, 2, 3, 4, 5] and len(found.read(sample(2))) == 6


def test_an_empty_file_is_not_finished_nor_one_that_is_read(tmp_path):
    for _ in range(3):
        write(tmp_path, [], finish=True)
    write(tmp_path, [1])
    EmbeddingShard(tmp_path / 'shard-00000.sqlite').finish()  # which reads alone
    write(tmp_path, [2], finish=True)
    assert [each.name for each in tmp_path.glob('*.sqlite')] == ['shard-00000.sqlite']


def test_what_a_killed_writer_left_is_not_put_into_the_next_file(tmp_path):
    """Where the shard was deleted by hand, and what SQLite keeps beside it was not."""
    write(tmp_path, range(8), n=2000)
    killed_at_write(1, write, tmp_path, [9])
    (tmp_path / 'shard-00000.sqlite').unlink()
    assert (tmp_path / 'shard-00000.sqlite-journal').exists()
    write(tmp_path, range(3), n=2000)
    assert list(contents(tmp_path)) == [0, 1, 2]


def go_on(path, count):
    """What a run does: write what is left, an image after the other."""
    shard = EmbeddingStore.create(path, SOURCE, DATASET)
    done = set(shard.keys())
    for img_id in range(count):
        if str(img_id) not in done:
            shard.write([(img_id, make_record(40, seed=img_id), (60, 70))])
    shard.close()


def test_killed_at_50_moments(tmp_path):
    """No half record, and nothing lost that was there; in the end all is as if undisturbed."""
    rng = random.Random(0)
    count, done, kills = 5000, 0, 0
    while kills < 50 or done <= 10:  # a busy disk takes its time
        process = get_context('fork').Process(target=go_on, args=(tmp_path / 'killed', count))
        process.start()
        time.sleep(rng.uniform(0.005, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, 'too fast to be killed'
        kills += 1
        if not (tmp_path / 'killed' / 'shard-00000.sqlite').exists():
            continue
        found = list(contents(tmp_path / 'killed'))
        assert found == list(range(len(found))) and len(found) >= done
        done = len(found)
    assert done < count
    go_on(tmp_path / 'killed', done + 20)
    go_on(tmp_path / 'undisturbed', done + 20)
    assert contents(tmp_path / 'killed') == contents(tmp_path / 'undisturbed')
    killed, undisturbed = (EmbeddingStore(tmp_path / name) for name in ('killed', 'undisturbed'))
    assert killed.header == undisturbed.header and len(killed) == done + 20


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
    done = len(contents(tmp_path))
    assert done > 10
    go_on(tmp_path, done + 5)
    assert len(EmbeddingStore(tmp_path)) == done + 5


def test_database_full(file):
    """SQLite's own word for a full disk."""
    shard = EmbeddingStore.create(file.parent, SOURCE, DATASET)
    pages = shard._execute('PRAGMA page_count').fetchone()[0]
    shard._execute(f'PRAGMA max_page_count = {pages}')
    with pytest.raises(OSError, match='the disk is full.*make room and run'):
        shard.write([(3, make_record(2000), (60, 70))])
    assert shard.keys() == ['1', '2']
    shard.close()


class _Reader:
    def __init__(self, store):
        self.store = store

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return self.store.read(sample(index + 1)).boxes.copy()


@pytest.mark.parametrize(
    ('context', 'finished'), [('fork', False), ('fork', True), ('spawn', True)]
)
def test_read_by_workers(tmp_path, context, finished):
    write(tmp_path, [1, 2], finish=finished)
    store = EmbeddingStore(tmp_path)
    assert len(store.read(sample(1))) == 5  # the connection is open when it is forked
    loader = DataLoader(_Reader(store), num_workers=2, multiprocessing_context=context)
    for img_id, (boxes,) in zip((1, 2), loader, strict=True):
        np.testing.assert_array_equal(boxes, store.read(sample(img_id)).boxes)
    copied = pickle.loads(pickle.dumps(store))
    assert copied.read(sample(2)).to_bytes() == store.read(sample(2)).to_bytes()


def test_read_by_threads(file):
    store = EmbeddingStore(file.parent)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda i: len(store.read(sample(1 + i % 2))), range(40))) == [5] * 40


def as_somebody_else(function, path):
    """A process that may read what others wrote, and not write there, unless it is not of root."""

    def child():
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        function(path)

    process = get_context('fork').Process(target=child)
    process.start()
    return process


@pytest.fixture
def public():
    """A folder that everybody may read; pytest's may close at any time, by another run of it."""
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def read_until_400(path):
    opened = EmbeddingStore(path)
    while 400 not in opened.img_ids():
        assert len(opened.read(sample(0))) == 5
        assert len(EmbeddingStore(path).read(sample(0))) == 5


def test_read_without_permission_while_another_writes(public):
    write(public, [0])
    process = as_somebody_else(read_until_400, public)
    write(public, range(1, 401))
    process.join()
    assert process.exitcode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason='needs root, to read as another user')
def test_half_a_record_and_no_permission(public):
    write(public, [1, 2])
    killed(half_a_transaction, public / 'shard-00000.sqlite')

    def read(path):
        with pytest.raises(PermissionError, match='a writer was killed here'):
            EmbeddingStore(path)

    process = as_somebody_else(read, public)
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize('finish', [False, True])
def test_half_a_record_in_the_file(tmp_path, finish):
    """Whoever may write and opens it next rolls it back, also in a file that was finished."""
    write(tmp_path, [1, 2], finish=finish)
    file = tmp_path / 'shard-00000.sqlite'
    before = file.read_bytes()
    killed(half_a_transaction, file)
    assert file.read_bytes() != before and not shard_module.is_finished(file)
    assert EmbeddingStore(tmp_path).img_ids() == [1, 2] and file.read_bytes() == before
    assert shard_module.is_finished(file) == finish
    if finish:
        killed(half_a_transaction, file)
        write(tmp_path, [3])
        assert file.read_bytes() == before


def test_the_list_of_images_is_read_from_the_index(file):
    statements = []
    shard = EmbeddingShard(file)
    shard._connected().set_trace_callback(statements.append)
    assert shard.keys() == ['1', '2']
    (statement,) = statements
    plan = shard._execute(f'EXPLAIN QUERY PLAN {statement}').fetchall()
    assert 'COVERING INDEX' in plan[0][-1]
