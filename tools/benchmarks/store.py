"""Bytes and rates of the embedding store against files of one's own, as ratios.

    python tools/benchmarks/store.py --images 2000 --shards 8

Writes the same random records (boxes, objectness and float16 embeddings of 300 regions, 512 wide)
as an embedding store, as one ``.npy`` and one ``.pt`` an image, as a zip of the ``.pt``, as peers
do, and into LMDB where that is installed; then reads them in random order. SQLite maps the first
2 GB of a file and reads the rest: the store is read with the map and without. Each round reads
every kind once, in another order, so that a change in the machine's speed meets all of them; all
files are in the page cache. Reads are those in a second of CPU time, which other programs change
little; they and their ratios are medians of the rounds. Writes are those in a second of the clock,
measured once. Prints Markdown.
"""

import argparse
import io
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore

LVIS_TRAIN_IMAGES = 100_170
MOST_BYTES = 32e9


class Store:
    """The embedding store, an image a commit; several shards take turns, as processes do."""

    def __init__(self, folder: Path, width: int, shards: int) -> None:
        source = dict(teacher='random@0', embed_dims=width)
        self.folder, self.store = folder, None
        self.shards = [EmbeddingStore.create(folder, source, {}, i) for i in range(shards)]

    def write(self, index: int, record: EmbeddingRecord) -> None:
        self.shards[index % len(self.shards)].write([(index, record, (480, 640))])

    def read(self, index: int) -> None:
        if self.store is None:
            self.store = self.open()
        self.store.read(dict(img_id=index, ori_shape=(480, 640)))

    def open(self) -> EmbeddingStore:
        for shard in self.shards:
            shard.finish()
        return EmbeddingStore(self.folder)


class Unfinished(Store):
    """The embedding store while it may be written."""

    def open(self) -> EmbeddingStore:
        return EmbeddingStore(self.folder)


class Unmapped(Store):
    """The embedding store as what lies beyond the first 2 GB of a file is read."""

    def open(self) -> EmbeddingStore:
        store = super().open()
        for shard in store.shards:
            shard._execute('PRAGMA mmap_size = 0')
        return store


class Npy:
    """All of a record's bytes in a raw ``.npy`` file."""

    def __init__(self, folder: Path, width: int, shards: int) -> None:
        self.folder = folder

    def write(self, index: int, record: EmbeddingRecord) -> None:
        np.save(self.folder / f'{index}.npy', np.frombuffer(record.to_bytes(), np.uint8))

    def read(self, index: int) -> None:
        np.load(self.folder / f'{index}.npy')


class Pt:
    """A dict of tensors in a ``.pt`` file."""

    def __init__(self, folder: Path, width: int, shards: int) -> None:
        self.folder = folder

    def write(self, index: int, record: EmbeddingRecord) -> None:
        torch.save(tensors(record), self.folder / f'{index}.pt')

    def read(self, index: int) -> None:
        torch.load(self.folder / f'{index}.pt', weights_only=True)


class Zip:
    """The ``.pt`` files in a zip file."""

    def __init__(self, folder: Path, width: int, shards: int) -> None:
        self.file = folder / 'all.zip'
        self.archive = zipfile.ZipFile(self.file, 'w')
        self.reading = False

    def write(self, index: int, record: EmbeddingRecord) -> None:
        content = io.BytesIO()
        torch.save(tensors(record), content)
        self.archive.writestr(f'{index}.pt', content.getvalue())

    def read(self, index: int) -> None:
        if not self.reading:
            self.archive.close()
            self.archive, self.reading = zipfile.ZipFile(self.file), True
        torch.load(io.BytesIO(self.archive.read(f'{index}.pt')), weights_only=True)


class LMDB:
    """LMDB, an image a commit."""

    def __init__(self, folder: Path, width: int, shards: int) -> None:
        import lmdb

        self.env = lmdb.open(str(folder), map_size=2**40)

    def write(self, index: int, record: EmbeddingRecord) -> None:
        with self.env.begin(write=True) as transaction:
            transaction.put(str(index).encode(), record.to_bytes())

    def read(self, index: int) -> None:
        with self.env.begin() as transaction:
            transaction.get(str(index).encode())


KINDS = {
    'embedding store': Store,
    'beyond 2 GB of a file': Unmapped,
    'unfinished': Unfinished,
    '.npy an image': Npy,
    '.pt an image': Pt,
    'zip of .pt': Zip,
}
if find_spec('lmdb'):
    KINDS['LMDB'] = LMDB


def tensors(record: EmbeddingRecord) -> dict[str, torch.Tensor]:
    """A record as peers save it."""
    return {key: torch.from_numpy(np.array(value)) for key, value in vars(record).items()}


def make_record(rng: np.random.Generator, regions: int, width: int) -> EmbeddingRecord:
    """A random record."""
    boxes = rng.uniform(0, 400, (regions, 4)).astype(np.float32)
    embeddings = rng.standard_normal((regions, width), dtype=np.float32).astype(np.float16)
    return EmbeddingRecord(boxes, -np.sort(-rng.random(regions, dtype=np.float32)), embeddings)


def rate(
    call: Callable[[int], None],
    indices: Sequence[int],
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Calls a second."""
    start = clock()
    for index in indices:
        call(index)
    return len(indices) / (clock() - start)


def _write(
    kind: Store | Npy | Pt | Zip | LMDB, records: Sequence[EmbeddingRecord], index: int
) -> None:
    kind.write(index, records[index % len(records)])


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, default=2000)
    parser.add_argument('--regions', type=int, default=300)
    parser.add_argument('--width', type=int, default=512)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--shards', type=int, default=1, help='files of the embedding store')
    parser.add_argument('--folder', help='where to write (default: a temporary folder)')
    args = parser.parse_args(argv)
    if min(args.images, args.regions, args.width, args.rounds, args.shards) < 1:
        parser.error('the sizes must be positive')
    rng = np.random.default_rng(0)
    some = [make_record(rng, args.regions, args.width) for _ in range(min(args.images, 64))]
    with tempfile.TemporaryDirectory(dir=args.folder) as root:
        kinds, writes, sizes = {}, {}, {}
        for name, kind in KINDS.items():
            folder = Path(root) / kind.__name__
            folder.mkdir()
            kinds[name] = kind(folder, args.width, args.shards)
            writes[name] = rate(
                partial(_write, kinds[name], some), tqdm(range(args.images), desc=f'write {name}')
            )
        reads = {name: [] for name in KINDS}
        for round_ in tqdm(range(args.rounds + 1), desc='read'):
            order = rng.permutation(args.images).tolist()
            for name in rng.permutation(list(KINDS)).tolist():
                found = rate(kinds[name].read, order, time.process_time)
                if round_:  # the first one brings the files into the page cache
                    reads[name].append(found)
        for name, kind in KINDS.items():
            files = (Path(root) / kind.__name__).rglob('*')
            sizes[name] = sum(file.stat().st_size for file in files) / args.images
    print(report(args, writes, reads, sizes))


def times(reads: dict[str, list[float]], name: str, other: str) -> float:
    """How many times as long as another kind's a read of a kind takes, as the median of rounds."""
    rounds = zip(reads[other], reads[name], strict=True)
    return statistics.median(theirs / ours for theirs, ours in rounds)


def report(args: argparse.Namespace, writes: dict, reads: dict, sizes: dict) -> str:
    """The Markdown table, and the sum for LVIS."""
    lines = [
        f'{args.images} images of {args.regions} regions, {args.width} wide; files of the '
        f'embedding store: {args.shards}',
        '',
        "| | bytes an image | writes/s | random reads/s (CPU) | a read's time over the store's |",
        '|---|---:|---:|---:|---:|',
    ]
    mine, unmapped = list(KINDS)[:2]
    for name in KINDS:
        median, ratio = statistics.median(reads[name]), times(reads, name, mine)
        lines.append(
            f'| {name} | {sizes[name]:.0f} | {writes[name]:.0f} | {median:.0f} | {ratio:.2f} |'
        )
    total = sizes[mine] * LVIS_TRAIN_IMAGES
    lines += [
        '',
        f'LVIS train, {LVIS_TRAIN_IMAGES} images: {total / 1e9:.1f} GB (at most '
        f'{MOST_BYTES / 1e9:.0f}: {"met" if total <= MOST_BYTES else "missed"}).',
    ]
    for name, where in ((mine, 'mapped'), (unmapped, unmapped)):
        zips, npy = times(reads, 'zip of .pt', name), times(reads, name, '.npy an image')
        lines.append(
            f'Random reads, {where}: {zips:.1f}x those of the zip (at least 5: '
            f'{"met" if zips >= 5 else "missed"}); {npy:.2f}x the time of a raw .npy file (at '
            f'most 1.2: {"met" if npy <= 1.2 else "missed"}).'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
