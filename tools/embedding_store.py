"""Shows, verifies, merges or exports a store of the teacher's region embeddings.

    python tools/embedding_store.py show STORE
    python tools/embedding_store.py verify STORE
    python tools/embedding_store.py merge STORE --out NEW
    python tools/embedding_store.py export STORE --out FOLDER

``show`` and ``verify`` also say how many images have no region, if there are any. ``verify`` reads
every record and exits with status 1 if anything is damaged: delete the file that it names, and run
the extraction again, which computes what was in it. ``merge`` writes all shards into one file.
``export`` writes one ``.npz`` an image, with ``boxes``, ``scores``, ``embeddings``, ``weights``,
``annotated`` and ``image_size``. All but ``show`` are refused while an extraction writes to a file
that they read, and it while they run.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np
from tqdm import tqdm

from mmdet_vild.embedding_store import (
    DamagedRecordError,
    EmbeddingRecord,
    EmbeddingShard,
    EmbeddingStore,
)
from mmdet_vild.embedding_store.shard import discard, img_id_of, is_finished, lock_for_writing
from mmdet_vild.embedding_store.store import shard_files

#: Records that are written at once.
BATCH = 32
#: What file systems take, less the ending.
MAX_NAME = 255 - len('.partial')


def show(store: EmbeddingStore) -> None:
    """Print the header, and how much there is."""
    print(json.dumps(store.header, indent=2))
    total = 0
    for shard in store.shards:
        size = shard.path.stat().st_size
        total += size
        print(f'{shard.path.name}: {len(shard)} images, {size / 1e6:.1f} MB')
    count = len(store)
    print(f'{count} images, {total / 1e9:.3f} GB, {total / max(count, 1):.0f} bytes an image')
    show_empty(store)


def show_empty(store: EmbeddingStore) -> None:
    """Print how many images have no region, if there are any."""
    if empty := store.without_regions():
        print(
            f'{len(empty)} of {len(store)} images have no region, such as image {empty[0]!r}; '
            'nothing can be distilled from them'
        )


@contextmanager
def unchanging(paths: Iterable[Path]) -> Iterator[None]:
    """Let nobody write to shards while they are read as a whole.

    Who may not write there cannot see to that.

    Raises:
        BlockingIOError: Another process writes to one.
    """
    with ExitStack() as locks:
        for path in paths:
            if os.access(path.parent, os.W_OK) and not is_finished(path):
                locks.callback(lock_for_writing(path).release)
        yield


def verify(path: Path) -> int:
    """Print what is damaged; if nothing is, also how many images have no region.

    Returns:
        The number of damages.
    """
    count, files = 0, shard_files(path)
    if not files:
        EmbeddingStore(path)  # says what is missing
    for line in (line for file in files for line in damage(file)):
        tqdm.write(line, file=sys.stdout)
        count += 1
    print(f'{count} damages found')
    if not count:
        show_empty(EmbeddingStore(path))
    return count


def damage(path: Path) -> Iterator[str]:
    """Read a shard as a whole, as a training does; yields a line for each thing that is damaged."""
    try:
        shard = EmbeddingShard(path)
        keys = shard.keys(check=True)
    except DamagedRecordError as error:
        yield str(error)
        return
    for key in tqdm(keys, desc=path.name, unit=' images'):
        try:
            shard.read(key, listed=True)
        except DamagedRecordError as error:
            yield str(error)


def merge(store: EmbeddingStore, out: Path) -> None:
    """Write the records of all shards into one, which is there when it is complete."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / 'shard-00000.sqlite'
    unfinished = file.with_suffix('.unfinished')
    with unchanging([file]):
        if shard_files(out):
            raise ValueError(f'{out} holds a store already; choose another folder')
        discard(file, unfinished)
        with closing(EmbeddingShard.create(unfinished, store.header)) as shard:
            records = all_records(store)
            while batch := list(islice(records, BATCH)):
                shard.write(batch)
            shard.finish()
        unfinished.replace(file)
        Path(f'{unfinished}.lock').unlink()


def all_records(
    store: EmbeddingStore,
) -> Iterator[tuple[int | str, EmbeddingRecord, tuple[int, int]]]:
    """Every image's id, record and (height, width), with a bar that shows the progress."""
    for key, shard in tqdm(store.shard_of(check=True).items(), unit=' images'):
        yield (img_id_of(key), *shard.read(key, listed=True))


def export(store: EmbeddingStore, out: Path) -> None:
    """Write an ``.npz`` file an image, named after its id with ``%2F`` for ``/`` and so on."""
    names = {
        img_id: quote(str(img_id), safe='', errors='surrogatepass') for img_id in store.img_ids()
    }
    if len(set(names.values())) < len(names):
        raise ValueError('some images have ids that are a number and a text of the same digits')
    if too_long := [img_id for img_id, name in names.items() if len(name) > MAX_NAME]:
        raise ValueError(
            f'the id {str(too_long[0])[:100]!r}... of an image is too long for the name of a file'
        )
    out.mkdir(parents=True, exist_ok=True)
    for img_id, record, image_size in all_records(store):
        unfinished = out / f'{names[img_id]}.partial'
        with open(unfinished, 'wb') as file:
            np.savez(file, **vars(record), image_size=np.array(image_size))
        unfinished.replace(out / f'{names[img_id]}.npz')


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('action', choices=['show', 'verify', 'merge', 'export'])
    parser.add_argument('store', type=Path)
    parser.add_argument('--out', type=Path, help='for merge and export')
    args = parser.parse_args(argv)
    if (args.out is None) == (args.action in ('merge', 'export')):
        parser.error(f'{args.action} {"needs" if args.out is None else "takes no"} --out')
    try:
        with unchanging([] if args.action == 'show' else shard_files(args.store)):
            if args.action == 'verify':
                sys.exit(1 if verify(args.store) else 0)
            store = EmbeddingStore(args.store)
            action = {'show': show, 'merge': merge, 'export': export}[args.action]
            action(store, *([args.out] if args.out else []))
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
