"""What damaged files do to who reads them: the embedding store against LMDB.

    pip install lmdb
    python tools/benchmarks/store_damage.py

Writes the same 30 records as an embedding store and as an LMDB database whose values have the same
checksum, damages the file (a flipped bit, or a cut; the same random choices for both), and reads
every record in a process of its own. Prints how many of the damages ended the process, were
reported, changed nothing that was read, or went unnoticed. Prints Markdown.
"""

import argparse
import os
import random
import tempfile
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore
from mmdet_vild.embedding_store.shard import checksum

IMAGES, REGIONS, WIDTH = 30, 100, 32
SIZE = (480, 640)
OUTCOMES = ('process ended', 'reported', 'nothing changed', 'unnoticed')


class Store:
    """The embedding store."""

    file = 'shard-00000.sqlite'

    @staticmethod
    def write(folder: Path, records: list[bytes]) -> None:
        source = dict(teacher='random@0', embed_dims=WIDTH)
        shard = EmbeddingStore.create(folder, source, {})
        decoded = [EmbeddingRecord.from_bytes(data, REGIONS, WIDTH) for data in records]
        shard.write([(i, record, SIZE) for i, record in enumerate(decoded)])
        shard.close()

    @staticmethod
    def read(folder: Path) -> list[bytes]:
        store = EmbeddingStore(folder)
        samples = (dict(img_id=i, ori_shape=SIZE) for i in range(IMAGES))
        return [store.read(sample).to_bytes() for sample in samples]


class LMDB:
    """LMDB, with a checksum before each value."""

    file = 'data.mdb'

    @staticmethod
    def write(folder: Path, records: list[bytes]) -> None:
        import lmdb

        with lmdb.open(str(folder), map_size=2**26) as env, env.begin(write=True) as transaction:
            for i, data in enumerate(records):
                found = checksum(str(i), data).to_bytes(8, 'little', signed=True)
                transaction.put(str(i).encode(), found + data)

    @staticmethod
    def read(folder: Path) -> list[bytes]:
        import lmdb

        read = []
        with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as transaction:
            for i in range(IMAGES):
                value = transaction.get(str(i).encode())
                expected = checksum(str(i), value[8:]).to_bytes(8, 'little', signed=True)
                if value[:8] != expected:
                    raise ValueError('the checksum differs')
                read.append(value[8:])
        return read


KINDS = {'embedding store (SQLite)': Store, 'LMDB': LMDB}


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--damages', type=int, default=100)
    args = parser.parse_args(argv)
    if args.damages < 1:
        parser.error('the sizes must be positive')
    rng = np.random.default_rng(0)
    records = [make_record(rng) for _ in range(IMAGES)]
    lines = [
        f'{args.damages} damages, {IMAGES} records of {REGIONS} regions, {WIDTH} wide:',
        '',
        '| | ' + ' | '.join(OUTCOMES) + ' |',
        '|---' + '|---:' * len(OUTCOMES) + '|',
    ]
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            kind.write(Path(folder), records)
            counts = try_damages(kind, Path(folder), records, args.damages)
        lines.append(f'| {name} | ' + ' | '.join(str(counts[o]) for o in OUTCOMES) + ' |')
    print('\n'.join(lines))


def make_record(rng: np.random.Generator) -> bytes:
    """A random record."""
    boxes = rng.uniform(0, 400, (REGIONS, 4)).astype(np.float32)
    scores = -np.sort(-rng.random(REGIONS, dtype=np.float32))
    embeddings = rng.standard_normal((REGIONS, WIDTH), dtype=np.float32)
    return EmbeddingRecord(boxes, scores, embeddings).to_bytes()


def try_damages(kind: type, folder: Path, records: list[bytes], damages: int) -> Counter:
    """How often each of the outcomes came about."""
    rng, file = random.Random(0), folder / kind.file
    original = file.read_bytes()
    counts: Counter = Counter()
    for _ in tqdm(range(damages), desc=kind.__name__):
        place, cut, bit = rng.random(), rng.random() < 0.2, rng.randrange(8)
        data = bytearray(original)
        position = int(place * len(data))
        if cut:
            del data[position:]
        else:
            data[position] ^= 1 << bit
        file.write_bytes(data)
        process = get_context('fork').Process(target=read_and_compare, args=(kind, folder, records))
        process.start()
        process.join()
        counts[OUTCOMES[max(process.exitcode, 0)]] += 1
    return counts


def read_and_compare(kind: type, folder: Path, records: list[bytes]) -> NoReturn:
    """Ends the process with the number of the outcome."""
    try:
        found = kind.read(folder)
    except Exception:
        os._exit(1)
    os._exit(2 if found == records else 3)


if __name__ == '__main__':
    main()
