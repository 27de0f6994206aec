"""PASCAL-Context's .mat files to label files of 459 and of 59 classes.

    python tools/dataset_converters/pascal_context.py data/VOCdevkit/VOC2010/trainval \\
        data/VOCdevkit/VOC2010/labels.txt --out data/VOCdevkit/VOC2010

``trainval`` and ``labels.txt`` are those of https://cs.stanford.edu/~roozbeh/pascal-context. It
writes ``context_459/NAME.png`` (16 bits: the number of a category minus 1, 65535 for none),
``context_59/NAME.png`` (8 bits: 1 to 59 by the alphabet, 0 for all else) and ``context_459.json``,
the vocabulary.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
from mmengine.utils import track_iter_progress
from PIL import Image
from scipy.io import loadmat

from mmdet_vild.datasets import PascalContext59Dataset
from mmdet_vild.vocabulary.category_files import named_categories

IGNORED = 65535


def main() -> None:
    """Parse the command line and convert."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('mats', type=Path, help='the folder of .mat files')
    parser.add_argument('labels', type=Path, help='labels.txt, a line "1: accordion" a category')
    parser.add_argument('--out', type=Path, required=True, help='the folder to write into')
    args = parser.parse_args()

    names = read_names(args.labels)
    to_59 = table_of_59(names, args.labels)
    paths = sorted(args.mats.glob('*.mat'))
    if not paths:
        raise FileNotFoundError(f'there are no .mat files in {args.mats}')
    for folder in ('context_459', 'context_59'):
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    # As of the other sets of PASCAL: "pottedplant" is read as "potted plant".
    categories = [dict(each, id=i) for i, each in enumerate(named_categories(names), 1)]
    (args.out / 'context_459.json').write_text(json.dumps(categories, indent=1))
    for path in track_iter_progress(paths):
        numbers = read_mat(path, len(names))
        # 0, no category, becomes 65535.
        full = numbers - np.uint16(1)
        Image.fromarray(full).save(args.out / 'context_459' / f'{path.stem}.png')
        Image.fromarray(to_59[numbers]).save(args.out / 'context_59' / f'{path.stem}.png')
    print(f'\n{args.out}: {len(paths)} pictures, {len(names)} and 59 classes')


def read_names(path: Path) -> list[str]:
    """The categories of ``labels.txt``, in the order of their numbers from 1."""
    found = [
        re.fullmatch(r'(\d+)\s*:\s*(.+)', line) for line in path.read_text().split('\n') if line
    ]
    names = {int(match[1]): match[2].strip() for match in found if match}
    if not names or None in found or sorted(names) != list(range(1, len(names) + 1)):
        raise ValueError(
            f'{path} is not the list of PASCAL-Context; expected the lines "1: accordion", '
            '"2: aeroplane" and so on'
        )
    return [names[number] for number in sorted(names)]


def table_of_59(names: list[str], path: Path) -> np.ndarray:
    """Of each number of the 459 (and 0), that of the 59, or 0; uint8."""
    frequent = PascalContext59Dataset.METAINFO['classes']
    if missing := [name for name in frequent if name not in names]:
        raise ValueError(f'{path} does not have {len(missing)} of the 59 classes: {missing[:5]}')
    table = np.zeros(len(names) + 1, np.uint8)
    for label, name in enumerate(frequent, 1):
        table[names.index(name) + 1] = label
    return table


def read_mat(path: Path, count: int) -> np.ndarray:
    """(H, W) uint16, numbers of categories; 0 is none."""
    content = loadmat(path)
    numbers = content.get('LabelMap')
    if numbers is None or numbers.ndim != 2 or numbers.max() > count:
        found = 'no LabelMap' if numbers is None else f'numbers up to {numbers.max()}'
        raise ValueError(
            f'{path} has {found}; expected a LabelMap with numbers up to {count}, as '
            "PASCAL-Context's trainval has it"
        )
    return numbers.astype(np.uint16)


if __name__ == '__main__':
    main()
