"""The teacher's training pictures: drawings on their own, and what of them is seen."""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from scenes import Drawing, Scene, compose, load_drawings
from tqdm import tqdm

#: The second of a picture's random seeds, where the detection data has its split.
TRAIN_STREAM = 1000
IMAGE_SIZE = 160
#: From how many to fewer than how many things a picture shows.
THINGS = 1, 7


@dataclass(frozen=True)
class Key:
    """What captions tell apart: a thing and what a crop shows of it (None: background)."""

    word: str | None
    kind: str


def object_box(scene: Scene, index: int) -> np.ndarray:
    """x1, y1, x2, y2 of what is seen of an object."""
    x, y, w, h = cv2.boundingRect((scene.owners == index).astype(np.uint8))
    return np.array([x, y, x + w, y + h], float)


def _window(rng: np.random.Generator, box: np.ndarray, kind: str) -> np.ndarray | None:
    """A window that shows the whole of an object, part of it or much around it; None: no luck."""
    size, centre = box[2:] - box[:2], (box[:2] + box[2:]) / 2
    if kind == 'whole':
        scale, shift = rng.uniform(1.0, 1.65) * np.exp(rng.uniform(-0.08, 0.08, 2)), 0.06
    elif kind == 'far':
        scale, shift = rng.uniform(2.1, 3.0) * np.ones(2), 0.6
    else:
        scale, shift = rng.uniform(0.4, 1.1, 2), 0.6
    half = size * scale / 2
    centre = centre + rng.uniform(-shift, shift, 2) * size
    window = np.clip(np.concatenate([centre - half, centre + half]), 0, IMAGE_SIZE)
    inside = np.clip(np.minimum(window[2:], box[2:]) - np.maximum(window[:2], box[:2]), 0, None)
    seen = inside.prod() / size.prod()
    fits = {
        'whole': seen > 0.85,
        'part': 0.25 < seen < 0.65 and inside.prod() > 0.4 * (window[2:] - window[:2]).prod(),
        'far': seen > 0.85,
    }
    return window if fits[kind] and (window[2:] - window[:2]).min() >= 6 else None


def _background_window(rng: np.random.Generator, boxes: list[np.ndarray]) -> np.ndarray | None:
    start, size = rng.uniform(0, IMAGE_SIZE - 24, 2), rng.uniform(20, 90, 2)
    window = np.concatenate([start, np.minimum(start + size, IMAGE_SIZE)])
    for box in boxes:
        overlap = np.minimum(window[2:], box[2:]) - np.maximum(window[:2], box[:2])
        if (overlap > 3).all():
            return None
    return window


def _crop(rng: np.random.Generator, image: np.ndarray, window: np.ndarray, side: int) -> np.ndarray:
    x1, y1, x2, y2 = (*np.floor(window[:2]).astype(int), *np.ceil(window[2:]).astype(int))
    crop = image[y1:y2, x1:x2]
    shrinks = min(crop.shape[:2]) > side
    ways = (cv2.INTER_AREA, cv2.INTER_LINEAR) if shrinks else (cv2.INTER_CUBIC, cv2.INTER_LINEAR)
    return cv2.resize(crop, (side, side), interpolation=ways[rng.integers(2)])


def picture_crops(
    seed: int, designs: list[list[Drawing]], side: int, index: int
) -> tuple[list[Key], np.ndarray]:
    """Crops of one picture of some things: n keys and (n, side, side, 3) uint8 RGB."""
    rng = np.random.default_rng([seed, TRAIN_STREAM, index])
    picks = []
    for word in rng.choice(len(designs), rng.integers(*THINGS), replace=False):
        picks.append(designs[word][rng.integers(len(designs[word]))])
    scene = compose(rng, picks, (), IMAGE_SIZE)
    image = scene.pixels[..., ::-1]
    boxes = [object_box(scene, i) for i in range(len(scene.drawings))]
    keys, crops = [], []
    for drawing, box in zip(scene.drawings, boxes, strict=True):
        for kind in ('whole', 'whole', 'part', *(('far',) if rng.random() < 0.3 else ())):
            windows = (_window(rng, box, kind) for _ in range(10))
            window = next((w for w in windows if w is not None), None)
            if window is not None:
                keys.append(Key(drawing.word, kind))
                crops.append(_crop(rng, image, window, side))
    window = _background_window(rng, boxes)
    if window is not None:
        keys.append(Key(None, 'background'))
        crops.append(_crop(rng, image, window, side))
    return keys, np.array(crops, np.uint8).reshape(-1, side, side, 3)


#: What a worker process has loaded: the drawings of each word.
_worker: dict[str, list[list[Drawing]]] = {}


def _start_worker(folder: Path) -> None:
    cv2.setNumThreads(1)
    designs = defaultdict(list)
    for drawing in load_drawings(folder):
        designs[drawing.word].append(drawing)
    _worker['designs'] = list(designs.values())


def _work(seed: int, side: int, index: int) -> tuple[list[Key], np.ndarray]:
    return picture_crops(seed, _worker['designs'], side, index)


def render_crops(
    seed: int, folder: Path, pictures: int, side: int, workers: int
) -> tuple[list[Key], np.ndarray]:
    """All training crops, ordered by picture: n keys and (n, side, side, 3) uint8 RGB.

    Args:
        seed (int): the random seed.
        folder (Path): of the drawings, all of which are shown.
        pictures (int): how many.
        side (int): of the crops in pixels.
        workers (int): processes; the result does not depend on it.
    """
    make = partial(_work, seed, side)
    keys, crops = [], []
    # spawn: a forked process would inherit OpenCV's threads, and hang
    with get_context('spawn').Pool(workers, _start_worker, (folder,)) as pool:
        found = pool.imap(make, range(pictures), chunksize=16)
        for some_keys, some_crops in tqdm(found, total=pictures, desc='pictures', mininterval=1):
            keys += some_keys
            crops.append(some_crops)
    return keys, np.concatenate(crops)
