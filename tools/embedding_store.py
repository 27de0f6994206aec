"""Shows, verifies, repairs, merges or exports a store of the teacher's region embeddings.

    python tools/embedding_store.py show STORE
    python tools/embedding_store.py verify STORE
    python tools/embedding_store.py repair STORE
    python tools/embedding_store.py merge STORE --out NEW
    python tools/embedding_store.py export STORE --out FOLDER

``verify`` reads every byte and exits with status 1 if anything is damaged. ``repair`` keeps every
record whose checksum is right in a new file, and the damaged file beside it, renamed; run the
extraction again to compute what is missing. ``merge`` writes all shards into one file. ``export``
writes one ``.npz`` an image, with ``boxes``, ``scores``, ``embeddings`` and ``image_size``. All but
``show`` are refused while an extraction writes to the store, and an extraction while they run.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
from tqdm import tqdm

from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.embedding_store.repair import damage, repair
from mmdet_vild.embedding_store.shard import lock_for_writing, put, unchanging, write_shard
from mmdet_vild.embedding_store.store import shard_files

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


def existing_files(path: Path) -> list[Path]:
    """The files of a store, which need not be readable."""
    files = shard_files(path)
    if not files:
        EmbeddingStore(path)  # says what is missing
    return files


def verify(path: Path) -> int:
    """Print what is damaged.

    Returns:
        The number of damages.
    """
    count, files = 0, existing_files(path)
    with unchanging(files):
        for file in files:
            size = file.stat().st_size / 1e9
            print(f'{file.name}: its structure first ({size:.1f} GB, in silence), then the records')
            for line in damage(file, partial(tqdm, desc=file.name, unit=' images')):
                tqdm.write(line, file=sys.stdout)
                count += 1
    print(f'{count} damages found')
    return count


def repair_all(path: Path) -> None:
    """Give each damaged shard a new file with the records that are still right."""
    for file in tqdm(existing_files(path), desc='repair', unit=' shards'):
        if (repaired := repair(file)) is not None:
            kept, backup = repaired
            tqdm.write(f'{file.name}: {kept} records kept; the old file is {backup}', sys.stdout)


def merge(store: EmbeddingStore, out: Path) -> None:
    """Write the records of all shards into one, which is there when it is complete."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / 'shard-00000.sqlite'
    unfinished = file.with_suffix('.unfinished')
    lock = lock_for_writing(file)
    try:
        if shard_files(out):
            raise ValueError(f'{out} holds a store already; choose another folder')
        with unchanging(shard.path for shard in store.shards):
            write_shard(unfinished, store.header, all_records(store))
        put(unfinished, file)
    finally:
        lock.release()


def all_records(store: EmbeddingStore) -> tqdm:
    """Every image's id, record and size, with a bar that shows the progress."""
    return tqdm(store.records(), total=len(store), unit=' images')


def export(store: EmbeddingStore, out: Path) -> None:
    """Write an ``.npz`` file an image, named after its id with ``%2F`` for ``/`` and so on."""
    with unchanging(shard.path for shard in store.shards):
        export_unchanging(store, out)


def export_unchanging(store: EmbeddingStore, out: Path) -> None:
    """:func:`export` while nobody writes."""
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
    parser.add_argument('action', choices=['show', 'verify', 'repair', 'merge', 'export'])
    parser.add_argument('store', type=Path)
    parser.add_argument('--out', type=Path, help='for merge and export')
    args = parser.parse_args(argv)
    if (args.out is None) == (args.action in ('merge', 'export')):
        parser.error(f'{args.action} {"needs" if args.out is None else "takes no"} --out')
    try:
        if args.action == 'verify':
            sys.exit(1 if verify(args.store) else 0)
        if args.action == 'repair':
            repair_all(args.store)
            return
        store = EmbeddingStore(args.store)
        action = {'show': show, 'merge': merge, 'export': export}[args.action]
        action(store, *([args.out] if args.out else []))
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
