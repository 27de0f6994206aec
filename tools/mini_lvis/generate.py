"""Makes the mini world: a small detection dataset in LVIS v1 format, drawn from a category list.

    python tools/mini_lvis/generate.py --out data/mini_lvis --seed 0

Categories whose frequency is ``r`` are novel: they appear in the training images about half as
often as a base category, but ``lvis_v1_train.json`` does not annotate them. The val and test images
(both under ``val2017/``, as LVIS's are) show every category equally often and are annotated
exhaustively; all absent categories are listed as negatives, so that every false positive counts.

The same arguments give the same bytes, whatever the number of workers. An interrupted run goes on
where it stopped, a finished one does nothing.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from concepts import DEFAULT_CATEGORIES, load_categories, parse_name
from render import MAX_SIZE_PART, MIN_SIZE, Layout, paint_layout, polygon_rings, sample_layout
from tqdm import tqdm

#: Raised whenever the same arguments would give other pictures or annotations.
WORLD_VERSION = 1
SPLITS = ('train', 'val', 'test')
#: How often a category appears in training images, by frequency; ``r``: of the base's mean.
TRAIN_WEIGHTS = {'f': 1.0, 'c': 0.5, 'r': 0.5}
JPEG_QUALITY = 95
DATE = '2020-01-01 00:00:00'


def scene_layout(world: dict, split: str, index: int) -> Layout:
    """What an image shows, novel objects of training images included, without drawing it.

    Args:
        world (dict): the arguments, as in ``world.json``.
        split (str): ``train``, ``val`` or ``test``.
        index (int): the image's place in its split, from 0.
    """
    frequencies = [c['frequency'] for c in world['categories']]
    weights = np.ones(len(frequencies))
    if split == 'train':
        base = np.mean([TRAIN_WEIGHTS[f] for f in frequencies if f != 'r'])
        weights = np.array([TRAIN_WEIGHTS[f] * (base if f == 'r' else 1) for f in frequencies])
    rng = np.random.default_rng([world['seed'], SPLITS.index(split), index, 0])
    concepts = [parse_name(c['name']) for c in world['categories']]
    return sample_layout(rng, concepts, weights, world['image_size'])


def scene_pixels(world: dict, split: str, index: int) -> np.ndarray:
    """An image: (image_size, image_size, 3) uint8 BGR; arguments as in ``scene_layout``."""
    rng = np.random.default_rng([world['seed'], SPLITS.index(split), index, 1])
    return paint_layout(scene_layout(world, split, index), rng)


def image_id(world: dict, split: str, index: int) -> int:
    """The id of an image, from 1 on through train, val and test."""
    return 1 + index + sum(world[s] for s in SPLITS[: SPLITS.index(split)])


def image_path(world: dict, split: str, index: int) -> str:
    """An image's path in the dataset's folder; test images are in ``val2017`` too, as in LVIS."""
    folder = 'train2017' if split == 'train' else 'val2017'
    return f'{folder}/{image_id(world, split, index):012d}.jpg'


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that it is either whole or absent, even when interrupted."""
    part = path.with_name(f'.{path.name}.part')
    part.write_bytes(data)
    os.replace(part, path)


def _json_bytes(content: object, indent: int | None = None) -> bytes:
    return (json.dumps(content, indent=indent) + '\n').encode()


def _ring_area(ring: list[float]) -> float:
    x, y = np.array(ring).reshape(-1, 2).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def image_record(world: dict, split: str, index: int) -> tuple[dict, list[dict]]:
    """An image and its annotations in LVIS's form; annotation ids are left to the caller."""
    ids = {parse_name(c['name']): c['id'] for c in world['categories']}
    hidden = {c['id'] for c in world['categories'] if split == 'train' and c['frequency'] == 'r'}
    annotations = []
    for obj in scene_layout(world, split, index).objects:
        category_id = ids[obj.concept]
        if category_id in hidden:
            continue
        rings = polygon_rings(obj.visible)
        points = np.concatenate([np.reshape(r, (-1, 2)) for r in rings])
        (x1, y1), (x2, y2) = points.min(0), points.max(0)
        annotations.append(
            {
                'image_id': image_id(world, split, index),
                'category_id': category_id,
                'area': round(sum(map(_ring_area, rings)), 2),
                'bbox': [round(float(v), 2) for v in (x1, y1, x2 - x1, y2 - y1)],
                'segmentation': rings,
            }
        )
    present = {a['category_id'] for a in annotations}
    image = {
        'id': image_id(world, split, index),
        'width': world['image_size'],
        'height': world['image_size'],
        'coco_url': f'http://images.cocodataset.org/{image_path(world, split, index)}',
        'flickr_url': '',
        'license': 1,
        'date_captured': DATE,
        # what the annotators of a training image know nothing of is neither present nor absent
        'neg_category_ids': sorted(set(ids.values()) - present - hidden),
        'not_exhaustive_category_ids': [],
    }
    return image, annotations


def _make_image(world: dict, out: Path, task: tuple[str, int]) -> tuple[dict, list[dict]]:
    path = out / image_path(world, *task)
    if not path.exists():
        pixels = scene_pixels(world, *task)
        ok, data = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not ok:
            raise RuntimeError(f'OpenCV could not encode {path}')
        write_atomically(path, data.tobytes())
    return image_record(world, *task)


def _single_thread() -> None:
    cv2.setNumThreads(1)


def _make_images(world: dict, out: Path, tasks: list[tuple[str, int]], workers: int) -> Iterator:
    make = partial(_make_image, world, out)
    if workers <= 1:
        yield from map(make, tasks)
        return
    # spawn: safe beside threads, and the same on every platform
    with get_context('spawn').Pool(workers, initializer=_single_thread) as pool:
        yield from pool.imap(make, tasks, chunksize=16)


def _annotation_file(
    world: dict, images: list[dict], annotations: list[dict], train: list[dict]
) -> dict:
    """One annotation file; its categories carry the counts in the training file, as in LVIS."""
    for i, annotation in enumerate(annotations):
        annotation['id'] = i + 1
    instances = Counter(a['category_id'] for a in train)
    in_images = Counter(c for _, c in {(a['image_id'], a['category_id']) for a in train})
    return {
        'info': {
            'description': f'mini LVIS, seed {world["seed"]}, version {world["version"]}',
            'version': 'v1.0',
            'year': 2020,
            'contributor': 'mmdet_vild',
            'url': '',
            'date_created': DATE,
        },
        'licenses': [
            {
                'id': 1,
                'name': 'Apache License 2.0',
                'url': 'https://www.apache.org/licenses/LICENSE-2.0',
            }
        ],
        'images': images,
        'annotations': annotations,
        'categories': [
            {**c, 'image_count': in_images[c['id']], 'instance_count': instances[c['id']]}
            for c in world['categories']
        ],
    }


def check_world(world: dict) -> None:
    """Refuses arguments that make no world; raises ValueError."""
    if world['seed'] < 0:
        raise ValueError(f'--seed must not be negative, but is {world["seed"]}')
    for split in SPLITS:
        if world[split] < 1:
            raise ValueError(f'--{split} must be at least 1 image, but is {world[split]}')
    least = int(np.ceil(MIN_SIZE / MAX_SIZE_PART))
    if world['image_size'] < least:
        raise ValueError(
            f'--image-size must be at least {least} pixels, so that objects of {MIN_SIZE:.0f} '
            f'pixels fit, but is {world["image_size"]}'
        )


def open_world(out: Path, world: dict) -> bool:
    """Starts a dataset's folder, or finds the one that the same arguments started.

    Returns:
        bool: whether it is finished already.

    Raises:
        ValueError: if the folder holds another world or files of another kind.
    """
    path = out / 'world.json'
    if path.exists():
        found = json.loads(path.read_text(encoding='utf-8'))
        finished = found.pop('finished')
        if found != world:
            differing = sorted(k for k in {*found, *world} if found.get(k) != world.get(k))
            detail = '; '.join(
                f'{k} was {found.get(k)} and is now {world.get(k)}'
                if k != 'categories'
                else 'categories differ'
                for k in differing
            )
            raise ValueError(
                f'{out} holds a dataset made with other arguments ({detail}). Delete the folder '
                'to make it anew, or choose another --out.'
            )
        return finished
    if out.exists() and any(out.iterdir()):
        raise ValueError(
            f'{out} is not empty and holds no mini world (no world.json). Choose another --out.'
        )
    for folder in ('annotations', 'train2017', 'val2017'):
        (out / folder).mkdir(parents=True, exist_ok=True)
    write_atomically(path, _json_bytes({**world, 'finished': False}, 2))
    return False


def generate(out: Path, world: dict, workers: int = 1) -> bool:
    """Makes the dataset, or what is missing of it.

    Args:
        out (Path): its folder.
        world (dict): the arguments as ``make_world`` gives them.
        workers (int): processes; the result does not depend on it.

    Returns:
        bool: False if there was nothing to do.
    """
    check_world(world)
    if open_world(out, world):
        return False
    tasks = [(split, i) for split in SPLITS for i in range(world[split])]
    results = _make_images(world, out, tasks, workers)
    images, annotations = {s: [] for s in SPLITS}, {s: [] for s in SPLITS}
    progress = tqdm(
        zip(tasks, results, strict=True), total=len(tasks), desc='images', mininterval=1
    )
    for (split, _), (image, objects) in progress:
        images[split].append(image)
        annotations[split].extend(objects)
    for split in SPLITS:
        content = _annotation_file(world, images[split], annotations[split], annotations['train'])
        write_atomically(out / 'annotations' / f'lvis_v1_{split}.json', _json_bytes(content))
    write_atomically(out / 'categories.json', _json_bytes(world['categories'], 2))
    write_atomically(out / 'world.json', _json_bytes({**world, 'finished': True}, 2))
    return True


def make_world(
    seed: int, categories: list[dict], train: int, val: int, test: int, image_size: int
) -> dict:
    """All that decides a dataset's content, as ``world.json`` records it."""
    return {
        'version': WORLD_VERSION,
        'seed': seed,
        'train': train,
        'val': val,
        'test': test,
        'image_size': image_size,
        'categories': categories,
    }


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--out', type=Path, default=Path('data/mini_lvis'), help='folder of the dataset'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--categories',
        type=Path,
        default=DEFAULT_CATEGORIES,
        help='JSON list of {"name", "frequency"} objects (default: %(default)s)',
    )
    parser.add_argument(
        '--train', type=int, default=2000, help='training images (default: %(default)s)'
    )
    parser.add_argument('--val', type=int, default=400, help='val images (default: %(default)s)')
    parser.add_argument('--test', type=int, default=400, help='test images (default: %(default)s)')
    parser.add_argument(
        '--image-size', type=int, default=192, help='side in pixels (default: %(default)s)'
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        help='processes; the result does not depend on it (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    try:
        world = make_world(
            args.seed,
            load_categories(args.categories),
            args.train,
            args.val,
            args.test,
            args.image_size,
        )
        made = generate(args.out, world, args.workers)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(
        f'{args.out}: {args.train} train, {args.val} val and {args.test} test images'
        f'{"" if made else " (already there)"}'
    )


if __name__ == '__main__':
    main()
