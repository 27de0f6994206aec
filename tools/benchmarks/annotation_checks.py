"""Time of checking a large annotation file: polygons, run lengths as text, and boxes.

python tools/benchmarks/annotation_checks.py --annotations 1000000
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pycocotools.mask as mask_utils

from mmdet_vild.datasets.annotation_checks import CheckedAnnotations

WIDTH, HEIGHT, PER_IMAGE = 640, 480, 8


def content(annotations: int, points: int) -> dict:
    """A file as COCO's of circles, of every fourth of which the mask is run lengths."""
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    circle = 20 + 20 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shapes = []
    for number in range(1000):  # which occur again
        x, y = rng.integers(0, (WIDTH - 40, HEIGHT - 40)).tolist()
        mask = [(circle + (x, y)).round(2).ravel().tolist()]
        if number % 4 == 0:
            rle = mask_utils.frPyObjects(mask, HEIGHT, WIDTH)[0]
            mask = dict(size=[HEIGHT, WIDTH], counts=rle['counts'].decode())
        shapes.append(dict(bbox=[x, y, 40, 40], area=1256.6, iscrowd=0, segmentation=mask))
    found = [
        dict(shapes[i % 1000], id=i + 1, image_id=i // PER_IMAGE + 1, category_id=i % 80 + 1)
        for i in range(annotations)
    ]
    images = [
        dict(id=i + 1, file_name=f'{i + 1:012}.jpg', width=WIDTH, height=HEIGHT)
        for i in range(-(-annotations // PER_IMAGE))
    ]
    categories = [dict(id=i + 1, name=f'category {i + 1}') for i in range(80)]
    return dict(images=images, annotations=found, categories=categories)


def main() -> None:
    """Write a file, read it, check it."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--annotations', type=int, default=1_000_000)
    parser.add_argument('--points', type=int, default=25, help='of a polygon')
    args = parser.parse_args()
    if args.annotations < 1 or args.points < 3:
        parser.error('--annotations must be 1 or more, --points 3 or more')
    with TemporaryDirectory() as folder:
        path = Path(folder, 'annotations.json')
        path.write_text(json.dumps(content(args.annotations, args.points)))
        clocks = [(time.perf_counter(), time.process_time())]
        loaded = json.loads(path.read_text())
        clocks.append((time.perf_counter(), time.process_time()))
        checked = CheckedAnnotations(loaded, path.name, masks='bitmaps')
        clocks.append((time.perf_counter(), time.process_time()))
    print(checked.table())
    for name, before, after in zip(('read', 'checked'), clocks, clocks[1:], strict=False):
        print(f'{name} in {after[0] - before[0]:.1f} s, {after[1] - before[1]:.1f} s of CPU')


if __name__ == '__main__':
    main()
