"""Datasets of a few small pictures of noise, in files that are COCO's and LVIS's."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def write_pictures(
    folder: Path,
    ann_file: str,
    prefix: str,
    categories: dict[int, str],
    shown: Sequence[Sequence[int]],
    rare: Sequence[int] = (),
    size: int = 96,
) -> None:
    """Write ``prefix/000000000001.jpg`` and so on, and ``annotations/ANN_FILE.json``.

    Args:
        folder: Of the dataset; more than one file may be in it.
        ann_file: Name of the annotation file.
        prefix: Folder of the pictures.
        categories: Id -> name.
        shown: Of each picture, the ids of the categories of its objects, at most 4. Each object
            is 36 pixels wide and 60 high.
        rare: Ids of the categories that are rare.
        size: Width and height of the pictures.
    """
    (folder / prefix).mkdir(parents=True, exist_ok=True)
    (folder / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for i, kinds in enumerate(shown, 1):
        url = f'http://images.cocodataset.org/{prefix}{i:012d}.jpg'
        lists = dict(neg_category_ids=[], not_exhaustive_category_ids=[])
        file = dict(file_name=f'{i:012d}.jpg', coco_url=url, height=size, width=size)
        images.append(dict(id=i, **file, **lists))
        for kind, x in zip(kinds, (4, 34, 54, 14), strict=False):
            polygon = [x, 10, x + 36, 10, x + 36, 70, x, 70]
            shape = dict(bbox=[x, 10, 36, 60], area=36 * 60, segmentation=[polygon], iscrowd=0)
            number = len(annotations) + 1
            annotations.append(dict(id=number, image_id=i, category_id=kind, **shape))
        pixels = np.random.default_rng(i).integers(0, 256, (size, size, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / prefix / f'{i:012d}.jpg'), pixels)
    categories = [
        dict(id=i, name=name, synonyms=[name], frequency='r' if i in rare else 'f')
        for i, name in categories.items()
    ]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'annotations' / f'{ann_file}.json').write_text(json.dumps(content))
