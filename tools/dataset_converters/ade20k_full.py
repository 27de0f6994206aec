"""The full ADE20K (2021) to pictures and label files of 847 classes, for testing.

    python tools/dataset_converters/ade20k_full.py data/ADE20K_2021_17_01 \\
        --out data/ade20k_847 [--categories register_ade20k_full.py]

The 847 classes are the objects that both the training and the validation pictures show. Which
these are, is counted (it reads the masks of both), or taken from ``--categories``: a JSON list, or
a Python file with one, of ``name``, ``id`` and ``trainId``, such as Mask2Former's
``mask2former/data/datasets/register_ade20k_full.py``, which is not run.

Written are ``images/NAME.jpg`` and ``annotations/NAME.tif`` (16 bits, 65535 for no class) of the
validation pictures, both resized to a shorter side of 512 where it is longer, and
``categories.json``, the vocabulary with ADE20K's synonyms.
"""

import argparse
import ast
import json
import pickle
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from mmengine.utils import track_iter_progress
from PIL import Image

from mmdet_vild.vocabulary import named_categories

IGNORED, SHORT_SIDE, COUNT = 65535, 512, 847
#: What the index is made of, besides lists and texts.
PICKLED = {
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    *((f'numpy.{core}.multiarray', name) for core in ('core', '_core')
      for name in ('_reconstruct', 'scalar')),
    ('_codecs', 'encode'),
}  # fmt: skip


def main() -> None:
    """Parse the command line and convert."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('root', type=Path, help='the folder with images/ADE and index_ade20k.pkl')
    parser.add_argument('--out', type=Path, required=True, help='the folder to write into')
    parser.add_argument('--categories', type=Path, help='a list of the classes, see above')
    args = parser.parse_args()

    pictures = picture_paths(args.root, 'validation')
    names = read_categories(args.categories) if args.categories else counted(args.root, pictures)
    print(f'\n{len(names)} classes')
    if len(names) != COUNT:
        print(f'warning: papers test on {COUNT} classes; figures are not comparable')
    labels = {number: label for label, number in enumerate(names)}
    (args.out / 'images').mkdir(parents=True, exist_ok=True)
    (args.out / 'annotations').mkdir(exist_ok=True)
    categories = [
        dict(id=number, name=category['name'], synonyms=category['synonyms'])
        for number, category in zip(names, named_categories(names.values()), strict=True)
    ]
    (args.out / 'categories.json').write_text(json.dumps(categories, indent=1))
    for path in track_iter_progress(pictures):
        image, numbers = resized(np.array(Image.open(path).convert('RGB')), read_mask(path))
        found, inverse = np.unique(numbers, return_inverse=True)
        chosen = np.array([labels.get(number, IGNORED) for number in found.tolist()], np.uint16)
        target = args.out / 'annotations' / f'{path.stem}.tif'
        Image.fromarray(chosen[inverse].reshape(numbers.shape)).save(target)
        Image.fromarray(image).save(args.out / 'images' / path.name, quality=95)
    print(f'\n{args.out}: {len(pictures)} pictures')


def picture_paths(root: Path, split: str) -> list[Path]:
    """Pictures that have a mask beside them."""
    found = sorted((root / 'images' / 'ADE' / split).rglob('*.jpg'))
    paths = [path for path in found if mask_path(path).exists()]
    if not paths:
        raise FileNotFoundError(
            f'there are no pictures with a mask in {root}/images/ADE/{split}; name the folder '
            'ADE20K_2021_17_01 of the full data set'
        )
    return paths


def mask_path(picture: Path) -> Path:
    """``NAME_seg.png`` beside ``NAME.jpg``."""
    return picture.with_name(f'{picture.stem}_seg.png')


def read_mask(picture: Path) -> np.ndarray:
    """(H, W) int32, the number of the object of each pixel: R / 10 * 256 + G; 0 is none."""
    colors = np.array(Image.open(mask_path(picture))).astype(np.int32)
    return colors[..., 0] // 10 * 256 + colors[..., 1]


def counted(root: Path, validation: list[Path]) -> dict[int, str]:
    """Number -> name of the objects that both parts show, those of most training pictures first."""
    names = object_names(root / 'index_ade20k.pkl')
    training, tested = map(shown, (picture_paths(root, 'training'), validation))
    both = sorted(training.keys() & tested.keys(), key=lambda number: (-training[number], number))
    return {number: names[number - 1] for number in both}


def shown(pictures: Iterable[Path]) -> Counter:
    """In how many pictures each object is."""
    counts = Counter()
    for path in track_iter_progress(list(pictures)):
        counts.update(set(np.unique(read_mask(path)).tolist()) - {0})
    return counts


def object_names(path: Path) -> list[str]:
    """ADE20K's names of objects; number 1 is the first."""
    with open(path, 'rb') as file:
        return list(IndexReader(file).load()['objectnames'])


class IndexReader(pickle.Unpickler):
    """Reads arrays and texts, and executes nothing else."""

    def find_class(self, module: str, name: str) -> type:
        """What the file asks for by name."""
        if (module, name) not in PICKLED:
            raise pickle.UnpicklingError(
                f'the index of ADE20K asks for {module}.{name}, which may execute anything; give '
                'the classes by --categories'
            )
        return super().find_class(module, name)


def read_categories(path: Path) -> dict[int, str]:
    """Number -> name in the order of ``trainId``, of the only list of dicts in a file."""
    text, found = path.read_text(), []
    if path.suffix == '.py':
        lists = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.List) and n.elts]
        for each in lists:
            if isinstance(each.elts[0], ast.Dict):
                found = ast.literal_eval(each)
                break
    else:
        found = json.loads(text)
    try:
        ordered = sorted(found, key=lambda category: category['trainId'])
        names = {category['id']: category['name'] for category in ordered}
        labels = [category['trainId'] for category in ordered]
    except (LookupError, TypeError):
        names, labels = {}, []
    if not names or labels != list(range(len(names))):
        raise ValueError(
            f'{path} has no list of categories with name, id and trainId, these from 0 on'
        )
    return names


def resized(image: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its numbers with a shorter side of at most 512."""
    height, width = numbers.shape
    if min(height, width) <= SHORT_SIDE:
        return image, numbers
    scale = SHORT_SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return image, cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST)


if __name__ == '__main__':
    main()
