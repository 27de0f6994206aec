"""Small files as the authors of PASCAL-Context, ADE20K, VIPSeg and VSPW publish them."""

import json
import pickle
from pathlib import Path

import numpy as np
from label_pictures import blocks, write_numbers, write_picture
from scipy.io import savemat

from mmdet_vild.datasets import PascalContext59Dataset

#: Numbers of objects count from 1; 300 needs the second digit of the colours.
OBJECTS = [f'object {i}' for i in range(400)]
OBJECTS[0], OBJECTS[299], OBJECTS[20] = 'wall', 'road, route', 'only in training'


def context(root: Path, *values: str | int) -> list[str]:
    """A picture of these categories in columns, and 459 names by the alphabet, 59 real ones."""
    others = [f'{letter} thing {i}' for i in range(16) for letter in 'bcdefghijklmnopqrstuvwxyz']
    names = sorted([*PascalContext59Dataset.METAINFO['classes'], *others[:400]])
    text = ''.join(f'{i}: {name}\n' for i, name in enumerate(names, 1))
    (root / 'trainval').mkdir(parents=True)
    (root / 'labels.txt').write_text(text)
    known = [v if isinstance(v, int) else names.index(v) + 1 for v in values]
    savemat(root / 'trainval/2008_000002.mat', {'LabelMap': blocks(known, dtype=np.uint16)})
    write_picture(root / 'JPEGImages/2008_000002.jpg')
    return names


def ade20k(root: Path, shape: tuple[int, int] = (24, 32)) -> None:
    """Two training pictures and one for validation, of objects in columns."""
    shown = [('training', [1, 300, 21]), ('training', [300, 0]), ('validation', [1, 300, 77, 0])]
    for part, seen in shown:
        stem = f'ADE_{"val" if part == "validation" else "train"}_{len(seen):08d}'
        folder = root / 'images/ADE' / part / 'urban/street'
        write_picture(folder / f'{stem}.jpg', shape)
        ids = blocks(seen, shape, int)
        # The blue channel numbers instances.
        colors = np.stack([ids // 256 * 10 + 3, ids % 256, ids % 5], axis=-1)
        write_numbers(folder / f'{stem}_seg.png', colors.astype(np.uint8))
        write_numbers(folder / f'{stem}_parts_1.png', colors.astype(np.uint8))
        write_picture(folder / stem / 'instance_000.jpg')  # not a picture of the set
    presence = np.zeros((400, 3))
    index = dict(objectnames=OBJECTS, objectPresence=presence, filename=['a'], folder=['b'])
    (root / 'index_ade20k.pkl').write_bytes(pickle.dumps(index))


def vipseg(root: Path, **masks: list[int]) -> None:
    """Video -> numbers of its one frame."""
    categories = [
        dict(id=i, name=f'kind_{i}', isthing=int(i > 60), color=[0, 0, 0]) for i in range(124)
    ]
    root.mkdir(parents=True, exist_ok=True)
    (root / 'panoVIPSeg_categories.json').write_text(json.dumps(categories))
    for video, values in masks.items():
        write_picture(root / f'images/{video}/00000155.jpg')
        mask = blocks(values, dtype=np.uint16)
        write_numbers(root / f'panomasks/{video}/00000155.png', mask)
    videos = list(masks)
    (root / 'train.txt').write_text('\n'.join(videos[:2]))
    (root / 'val.txt').write_text('\n'.join(videos[2:]) + '\n')


def vspw(root: Path, kinds: dict[str, str]) -> None:
    """A video for training and one for testing, of these names and numbers."""
    root.mkdir(parents=True, exist_ok=True)
    (root / 'label_num_dic_final.json').write_text(json.dumps(kinds))
    for video in ('a', 'b'):
        for frame in (1, 2):
            write_picture(root / f'data/{video}/origin/{frame:08d}.jpg')
            write_numbers(root / f'data/{video}/mask/{frame:08d}.png', blocks([0, 1, 3, 255]))
    (root / 'train.txt').write_text('a\n')
    (root / 'val.txt').write_text('b\n')
