"""Small embedding stores."""

import os
import signal
import sqlite3
from collections.abc import Callable
from multiprocessing import get_context

import numpy as np

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingShard, EmbeddingStore

SOURCE = dict(teacher='mini-clip@0123456789abcdef', embed_dims=8, crop_scales=[1.0, 1.5])
DATASET = dict(sha256='0123', bytes=4)


def make_record(n=5, dims=8, seed=0):
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.uniform(0, 50, (n, 2, 2)), axis=1).reshape(n, 4).astype(np.float32)
    embeddings = rng.standard_normal((n, dims)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    scores, weights = rng.uniform(0, 1, (2, n)).astype(np.float32)
    return EmbeddingRecord(boxes, scores, embeddings, weights)


def sample(img_id, size=(60, 70)):
    return dict(img_id=img_id, img_path=f'{img_id}.jpg', ori_shape=size)


def write(path, img_ids, shard=0, dims=8, source=SOURCE, finish=False, **sizes):
    opened = EmbeddingStore.create(path, source, DATASET, shard)
    for img_id in img_ids:
        seed = img_id if isinstance(img_id, int) else 0
        opened.write([(img_id, make_record(seed=seed, dims=dims, **sizes), (60, 70))])
    opened.finish() if finish else opened.close()


def contents(path):
    """The bytes of every record."""
    store = EmbeddingStore(path)
    return {img_id: store.read(sample(img_id)).to_bytes() for img_id in store.img_ids()}


def half_a_transaction(path):
    """Kill this process when some of a record is in a shard already."""
    connection = sqlite3.connect(path)
    connection.execute('PRAGMA cache_size = 1')  # so that it is in the file, not in memory
    connection.execute('BEGIN')
    values = "VALUES (999999, '999999', 1, 1, 1, 1, zeroblob(1000000))"
    connection.execute(f'INSERT INTO records {values}')
    os.kill(os.getpid(), signal.SIGKILL)


def killed(function: Callable, *arguments) -> None:
    """Run a function in a process that it ends by a kill."""
    process = get_context('fork').Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def killed_at_write(number: int, function: Callable, *arguments) -> None:
    """Run a function in a process that is killed in the middle of its n-th write to a shard."""
    write_as_ever, count = EmbeddingShard.write, 0

    def write_or_die(shard, records):
        nonlocal count
        count += 1
        if count == number:
            half_a_transaction(shard.path)
        write_as_ever(shard, records)

    def run():
        EmbeddingShard.write = write_or_die
        function(*arguments)

    killed(run)
