"""Makes the mini world: a small dataset in LVIS v1's format, of drawings of LVIS's own categories.

    python tools/mini_lvis/generate.py --out data/mini_lvis --seed 0

Categories whose frequency is ``r`` are novel: they are in the training images, but neither
``lvis_v1_train.json`` nor the training label maps tell where. Val, test and unseen (in
``val2017/``, as LVIS's are) show every category equally often and are annotated exhaustively; all
absent categories are listed as negatives, so that every false positive counts. ``unseen`` shows
designs that no other split has.

Further files: ``semantic/``, a 16-bit label map for each image; ``semantic_classes.json``, its
names; ``annotations/coco_test.json``, the test images annotated with COCO's words in place of
LVIS's.

The same arguments give the same bytes, whatever the number of workers.
"""

import argparse
import hashlib
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from categories import load_categories
from drawings import find_drawings
from pycocotools import mask as mask_api
from scenes import (
    MAX_OBJECTS,
    MAX_SIZE_PART,
    MIN_OBJECTS,
    MIN_SIZE,
    STUFF,
    UNNAMED,
    Drawing,
    Scene,
    compose,
    load_drawings,
    poor_camera,
)
from tqdm import tqdm

#: Raised whenever the same arguments would give other pictures or annotations.
WORLD_VERSION = 2
SPLITS = ('train', 'val', 'test', 'unseen')
#: What a world may have beyond the default's.
TRAITS = ('poor_camera', 'large_novel')
#: The annotation files; the last is for testing both ways in one run.
FILES = {**{split: (split,) for split in SPLITS}, 'test_and_unseen': ('test', 'unseen')}
#: How often a category appears in training images, by frequency.
TRAIN_WEIGHTS = {'f': 1.0, 'c': 0.5, 'r': 1.0}
JPEG_QUALITY = 92
DATE = '2020-01-01 00:00:00'
COCO_WORDS = Path(__file__).with_name('coco_words.json')


class Painter:
    """Draws the scenes of a world.

    Args:
        world (dict): the arguments, as in ``world.json``.
        folder (Path): of the drawings.
    """

    def __init__(self, world: dict, folder: Path) -> None:
        self.world = world
        names = [c['name'] for c in world['categories']]
        drawings = load_drawings(folder, names)
        self.clutter = [d for d in drawings if d.category is None and not d.held_out]
        self.designs: dict[bool, dict[str, list[Drawing]]] = {}
        for held_out in (False, True):
            self.designs[held_out] = defaultdict(list)
            for drawing in drawings:
                if drawing.category is not None and drawing.held_out == held_out:
                    self.designs[held_out][drawing.category].append(drawing)
        novel = [c['name'] for c in world['categories'] if c['frequency'] == 'r']
        self.large = frozenset(novel[::2] if world.get('large_novel') else ())
        missing = sorted(set(names) - set(self.designs[False]))
        if missing:
            raise ValueError(f'{folder} has no drawings to train on of {", ".join(missing)}')

    def scene(self, split: str, index: int) -> Scene:
        """The scene of an image: its split and its place in there, from 0."""
        rng, picks = self.picks(split, index)
        scene = compose(rng, picks, self.clutter, self.world['image_size'], self.large)
        if self.world.get('poor_camera'):
            rng = np.random.default_rng([self.world['seed'], SPLITS.index(split), index, 2])
            scene.pixels = poor_camera(rng, scene.pixels)
        return scene

    def picks(self, split: str, index: int) -> tuple[np.random.Generator, list[Drawing]]:
        """What an image shows if there is room for all, and the generator to place it with."""
        categories = self.world['categories']
        designs = self.designs[split == 'unseen']
        weights = np.array([c['name'] in designs for c in categories], float)
        if split == 'train':
            weights *= [TRAIN_WEIGHTS[c['frequency']] for c in categories]
        rng = np.random.default_rng([self.world['seed'], SPLITS.index(split), index])
        count = rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1)
        if split == 'train':
            drawn = rng.choice(len(categories), count, p=weights / weights.sum())
        else:
            drawn = self._in_turn(split, np.flatnonzero(weights), index)[:count]
        picks = []
        for choice in drawn:
            of_category = designs[categories[choice]['name']]
            picks.append(of_category[rng.integers(len(of_category))])
        return rng, picks

    def _in_turn(self, split: str, choices: np.ndarray, index: int) -> np.ndarray:
        """``MAX_OBJECTS`` of the choices, so that all images have each about equally often."""
        places = np.arange(index * MAX_OBJECTS, (index + 1) * MAX_OBJECTS)
        rounds = {
            turn: np.random.default_rng(
                [self.world['seed'], SPLITS.index(split), turn, 1]
            ).permutation(choices)
            for turn in set(places // len(choices))
        }
        return np.array([rounds[p // len(choices)][p % len(choices)] for p in places])


def image_id(world: dict, split: str, index: int) -> int:
    """The id of an image, from 1 on through the splits."""
    return 1 + index + sum(world[s] for s in SPLITS[: SPLITS.index(split)])


def image_path(world: dict, split: str, index: int) -> str:
    """An image's path in the dataset's folder, without its ending."""
    folder = 'train2017' if split == 'train' else 'val2017'
    return f'{folder}/{image_id(world, split, index):012d}'


def image_record(world: dict, split: str, index: int, scene: Scene) -> tuple[dict, list[dict]]:
    """An image and its annotations in LVIS's form; annotation ids are left to the caller."""
    by_name = {c['name']: c for c in world['categories']}
    hidden = {c['id'] for c in world['categories'] if split == 'train' and c['frequency'] == 'r'}
    annotations = []
    for i, drawing in enumerate(scene.drawings):
        category_id = by_name[drawing.category]['id']
        mask = np.asfortranarray((scene.owners == i).astype(np.uint8))
        if category_id in hidden:
            continue
        rle = mask_api.encode(mask)
        annotations.append(
            {
                'image_id': image_id(world, split, index),
                'category_id': category_id,
                'area': float(mask.sum()),
                'bbox': mask_api.toBbox(rle).tolist(),
                'segmentation': {**rle, 'counts': rle['counts'].decode()},
            }
        )
    present = {a['category_id'] for a in annotations}
    image = {
        'id': image_id(world, split, index),
        'width': world['image_size'],
        'height': world['image_size'],
        'coco_url': f'http://images.cocodataset.org/{image_path(world, split, index)}.jpg',
        'flickr_url': '',
        'license': 1,
        'date_captured': DATE,
        # what the annotators of a training image know nothing of is neither present nor absent
        'neg_category_ids': sorted({c['id'] for c in world['categories']} - present - hidden),
        'not_exhaustive_category_ids': [],
    }
    return image, annotations


def label_map(world: dict, split: str, scene: Scene) -> np.ndarray:
    """A scene's semantic labels: (size, size) uint16.

    The categories' labels come first, ``STUFF``'s after them; clutter, and in training images
    novel objects, are ``UNNAMED``.
    """
    label_of = {c['name']: i for i, c in enumerate(world['categories'])}
    hidden = {c['name'] for c in world['categories'] if split == 'train' and c['frequency'] == 'r'}
    labels = scene.stuff.astype(np.uint16) + len(label_of)
    labels[scene.owners == -2] = UNNAMED
    for i, drawing in enumerate(scene.drawings):
        known = drawing.category not in hidden
        labels[scene.owners == i] = label_of[drawing.category] if known else UNNAMED
    return labels


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that it is either whole or absent, even when interrupted."""
    part = path.with_name(f'.{path.name}.part')
    part.write_bytes(data)
    os.replace(part, path)


def _json_bytes(content: object, indent: int | None = None) -> bytes:
    return (json.dumps(content, indent=indent) + '\n').encode()


def _make_image(painter: Painter, out: Path, task: tuple[str, int]) -> tuple[dict, list[dict]]:
    world, path = painter.world, image_path(painter.world, *task)
    scene = painter.scene(*task)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    picture = cv2.imencode('.jpg', scene.pixels, quality)[1]
    write_atomically(out / f'{path}.jpg', picture.tobytes())
    labels = cv2.imencode('.png', label_map(world, task[0], scene))[1]
    write_atomically(out / 'semantic' / f'{path}.png', labels.tobytes())
    return image_record(world, *task, scene)


#: What a worker process has loaded.
_worker: dict[str, Painter] = {}


def _start_worker(world: dict, folder: Path) -> None:
    cv2.setNumThreads(1)
    _worker['painter'] = Painter(world, folder)


def _work(out: Path, task: tuple[str, int]) -> tuple[dict, list[dict]]:
    return _make_image(_worker['painter'], out, task)


def _make_images(
    world: dict, folder: Path, out: Path, tasks: list[tuple[str, int]], workers: int
) -> Iterator:
    make = partial(_work, out)
    if workers <= 1:
        _start_worker(world, folder)
        yield from map(make, tasks)
        return
    # spawn: safe beside threads, and the same on every platform
    with get_context('spawn').Pool(workers, _start_worker, (world, folder)) as pool:
        yield from pool.imap(make, tasks, chunksize=16)


def _annotation_file(world: dict, images: list[dict], annotations: list[dict], train: list) -> dict:
    """One annotation file; its categories carry the counts in the training file, as in LVIS."""
    annotations = [{'id': i + 1, **a} for i, a in enumerate(annotations)]
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
        'licenses': [{'id': 1, 'name': 'see docs/licenses.md of mmdet_vild', 'url': ''}],
        'images': images,
        'annotations': annotations,
        'categories': [
            {**c, 'image_count': in_images[c['id']], 'instance_count': instances[c['id']]}
            for c in world['categories']
        ],
    }


def with_coco_words(content: dict) -> dict:
    """An LVIS annotation file with COCO's categories in place of LVIS's.

    Objects that COCO has no word for are left out, as COCO leaves them out.
    """
    name_of = {c['id']: c['name'] for c in content['categories']}
    words = json.loads(COCO_WORDS.read_text(encoding='utf-8'))
    coco_of = {name: i for i, *names in words.values() for name in names}
    kept = [a for a in content['annotations'] if name_of[a['category_id']] in coco_of]
    drawn = {coco_of[name] for name in name_of.values() if name in coco_of}
    return {
        'info': content['info'],
        'licenses': content['licenses'],
        'images': [
            {'file_name': image['coco_url'].split('.org/')[1]}
            | {key: image[key] for key in ('id', 'width', 'height')}
            for image in content['images']
        ],
        'annotations': [
            {**a, 'category_id': coco_of[name_of[a['category_id']]], 'iscrowd': 0} for a in kept
        ],
        'categories': [{'id': i, 'name': word} for word, (i, *_) in words.items() if i in drawn],
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
    found = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    finished = found.pop('finished', False)
    differing = sorted(k for k in {*found, *world} if found.get(k) != world.get(k))
    if not differing:
        return finished
    if out.exists() and any(out.iterdir()):
        raise ValueError(
            f'{out} is not empty, and is not this dataset ({", ".join(differing)} differ). Delete '
            'the folder, or choose another --out.'
        )
    for folder in ('train2017', 'val2017'):
        (out / folder).mkdir(parents=True, exist_ok=True)
        (out / 'semantic' / folder).mkdir(parents=True, exist_ok=True)
    (out / 'annotations').mkdir(exist_ok=True)
    write_atomically(path, _json_bytes({**world, 'finished': False}, 2))
    return False


def generate(out: Path, world: dict, drawings: Path, workers: int = 1) -> bool:
    """Makes the dataset.

    Args:
        out (Path): its folder.
        world (dict): the arguments as ``make_world`` gives them.
        drawings (Path): folder of the drawings.
        workers (int): processes; the result does not depend on it.

    Returns:
        bool: False if there was nothing to do.
    """
    check_world(world)
    if open_world(out, world):
        return False
    tasks = [(split, i) for split in SPLITS for i in range(world[split])]
    results = _make_images(world, drawings, out, tasks, workers)
    images, annotations = {s: [] for s in SPLITS}, {s: [] for s in SPLITS}
    progress = tqdm(
        zip(tasks, results, strict=True), total=len(tasks), desc='images', mininterval=1
    )
    for (split, _), (image, objects) in progress:
        images[split].append(image)
        annotations[split].extend(objects)
    for name, splits in FILES.items():
        content = _annotation_file(
            world,
            [image for split in splits for image in images[split]],
            [annotation for split in splits for annotation in annotations[split]],
            annotations['train'],
        )
        write_atomically(out / 'annotations' / f'lvis_v1_{name}.json', _json_bytes(content))
        if name == 'test':
            coco = with_coco_words(content)
            write_atomically(out / 'annotations' / 'coco_test.json', _json_bytes(coco))
    names = [c['name'] for c in world['categories']]
    write_atomically(out / 'semantic_classes.json', _json_bytes([*names, *STUFF], 0))
    write_atomically(out / 'categories.json', _json_bytes(world['categories'], 2))
    write_atomically(out / 'world.json', _json_bytes({**world, 'finished': True}, 2))
    return True


def make_world(
    seed: int,
    categories: Path | None,
    drawings: Path,
    sizes: dict[str, int],
    image_size: int,
    traits: Sequence[str] = (),
) -> dict:
    """All that decides a dataset's content, as ``world.json`` records it.

    Args:
        seed (int): the random seed.
        categories (Path, optional): the category list; None takes all that is drawn.
        drawings (Path): folder of the drawings.
        sizes (dict[str, int]): images of each split.
        image_size (int): side of the images in pixels.
        traits (Sequence[str]): of ``TRAITS``.
    """
    index = (drawings / 'index.json').read_bytes()
    drawable = json.loads(index)['categories']
    return {
        'version': WORLD_VERSION,
        'seed': seed,
        **sizes,
        'image_size': image_size,
        'drawings': hashlib.sha256(index).hexdigest()[:16],
        'categories': load_categories(categories, drawable),
        **dict.fromkeys(traits, True),
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
        '--categories', type=Path, help='category list, see categories.py (default: all drawn)'
    )
    parser.add_argument(
        '--drawings', type=Path, help='folder of drawings (default: fetched and kept in the cache)'
    )
    for split, count in zip(SPLITS, (2000, 300, 300, 300), strict=True):
        parser.add_argument(
            f'--{split}', type=int, default=count, help=f'{split} images (default: %(default)s)'
        )
    parser.add_argument(
        '--image-size', type=int, default=192, help='side in pixels (default: %(default)s)'
    )
    parser.add_argument(
        '--traits',
        nargs='*',
        choices=TRAITS,
        default=[],
        help='what makes a world harder: pictures of a poor camera, which the teacher has never '
        'seen; every other novel category larger than all base objects',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        help='processes; the result does not depend on it (default: %(default)s)',
    )
    args = parser.parse_args(argv)
    sizes = {split: getattr(args, split) for split in SPLITS}
    try:
        drawings = args.drawings or find_drawings()
        world = make_world(
            args.seed, args.categories, drawings, sizes, args.image_size, args.traits
        )
        made = generate(args.out, world, drawings, args.workers)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f'error: {error}')
    counts = ', '.join(f'{count} {split}' for split, count in sizes.items())
    print(f'{args.out}: {counts} images{"" if made else " (already there)"}')


if __name__ == '__main__':
    main()
