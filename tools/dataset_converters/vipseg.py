"""VIPSeg's panoptic masks to label files, and lists of frames, base and novel.

    python tools/dataset_converters/vipseg.py data/VIPSeg/VIPSeg_720P --out data/VIPSeg/VIPSeg_720P

Frames are pictures like others. Of the 124 categories 12 are novel, as in GKC; ``--novel`` names
others by their ids in ``panoVIPSeg_categories.json``. It writes ``semantic/VIDEO/FRAME.png`` (8
bits: the label, 255 for none), ``categories.json``, the vocabulary, in which novel categories have
the frequency "r", and lists of frames:

    train.frames.txt       for training; the data set ignores pixels of novel categories
    train_base.frames.txt  without the frames that show a novel category
    val.frames.txt         for testing
    val_base.frames.txt    those without a novel category
    val_novel.frames.txt   those with one
"""

import argparse
import json
from pathlib import Path

import numpy as np
from mmengine.utils import track_iter_progress
from PIL import Image

IGNORED = 255
#: Ids of GKC's novel categories.
NOVEL = (11, 32, 34, 57, 76, 78, 80, 94, 102, 112, 116, 122)
#: Masks have stuff as its number, and things as it times this, plus the number of an instance.
INSTANCES, FIRST_INSTANCE = 100, 125


def main() -> None:
    """Parse the command line and convert."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'root',
        type=Path,
        help='the folder with panomasks/, panoVIPSeg_categories.json, train.txt and val.txt',
    )
    parser.add_argument('--out', type=Path, required=True, help='the folder to write into')
    parser.add_argument(
        '--novel', type=int, nargs='*', default=NOVEL, help=f'ids of categories (default: {NOVEL})'
    )
    args = parser.parse_args()

    content = json.loads(read_text(args.root, 'panoVIPSeg_categories.json'))
    categories = sorted(content, key=lambda category: category['id'])
    ids = [category['id'] for category in categories]
    stuff = [category['id'] for category in categories if not category.get('isthing', True)]
    if unknown := sorted(set(args.novel) - set(ids)):
        parser.error(f'these --novel ids are not in panoVIPSeg_categories.json: {unknown}')
    words = [
        dict(
            id=category['id'],
            name=category['name'],
            synonyms=[category['name'].replace('_', ' ')],
            frequency='r' if category['id'] in args.novel else 'f',
        )
        for category in categories
    ]
    novel = [label for label, id_ in enumerate(ids) if id_ in args.novel]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / 'categories.json').write_text(json.dumps(words, indent=1))
    warnings = []
    for split in ('train', 'val'):
        base, others, frames = [], [], []
        paths, missing, count = mask_paths(args.root, split)
        if missing:
            warnings.append(
                f'warning: {len(missing)} of the {count} videos of {split}.txt have no mask in '
                f'panomasks and are left out, such as {missing[0]}'
            )
        for path in track_iter_progress(paths):
            labels = to_labels(np.array(Image.open(path)), ids, stuff, path)
            frame = path.relative_to(args.root / 'panomasks').with_suffix('')
            target = args.out / 'semantic' / f'{frame}.png'
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels).save(target)
            frames.append(frame.as_posix())
            (others if np.isin(labels, novel).any() else base).append(frame.as_posix())
        lists = {split: frames, f'{split}_base': base}
        if split == 'val':
            lists['val_novel'] = others
        for name, chosen in lists.items():
            (args.out / f'{name}.frames.txt').write_text('\n'.join(chosen) + '\n')
            print(f'\n{name}.frames.txt: {len(chosen)} frames')
    for warning in warnings:  # last, where they are seen
        print(f'\n{warning}')


def read_text(root: Path, name: str) -> str:
    """A file of the official ones, which are not all in one place."""
    if not (root / name).is_file():
        raise FileNotFoundError(
            f'there is no {name} in {root}; take it from the repository VIPSeg-Dataset, or from '
            'the folder VIPSeg that it comes in'
        )
    return (root / name).read_text()


def mask_paths(root: Path, split: str) -> tuple[list[Path], list[str], int]:
    """The masks of the videos that a list names, videos without any, and how many are named."""
    videos = read_text(root, f'{split}.txt').split()
    masks = {video: sorted((root / 'panomasks' / video).glob('*.png')) for video in videos}
    paths = [path for found in masks.values() for path in found]
    if not paths:
        raise FileNotFoundError(
            f'there is no mask of the videos of {root}/{split}.txt in {root}/panomasks'
        )
    return paths, [video for video in masks if not masks[video]], len(masks)


def to_labels(mask: np.ndarray, ids: list[int], stuff: list[int], path: Path) -> np.ndarray:
    """(H, W) uint8, the place of each pixel's category in ``ids``; 255 for none.

    Instances of what is no thing, as the official masks have 200, are none: mistakes for 0.

    Args:
        mask: (H, W), a category's id plus 1, for instances of things times 100 plus their number.
        ids: Of the categories, in label order.
        stuff: Those of them that are no things.
        path: Of the mask, for errors.
    """
    mask = mask.astype(np.int64)
    numbers = np.where(mask < FIRST_INSTANCE, mask, mask // INSTANCES)
    numbers[(mask >= FIRST_INSTANCE) & np.isin(numbers - 1, stuff)] = 0
    found, inverse = np.unique(numbers, return_inverse=True)
    labels = {0: IGNORED, **{id_ + 1: label for label, id_ in enumerate(ids)}}
    if unknown := [number for number in found.tolist() if number not in labels]:
        raise ValueError(
            f'{path} has the categories {[n - 1 for n in unknown]}, which '
            'panoVIPSeg_categories.json does not have; take panomasks, not panomasksRGB'
        )
    return np.array([labels[n] for n in found.tolist()], np.uint8)[inverse].reshape(mask.shape)


if __name__ == '__main__':
    main()
