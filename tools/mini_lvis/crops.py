"""The teacher's training pictures: crops of scenes, and what they show."""

from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import cv2
import numpy as np
from concepts import Concept, all_concepts
from render import paint_layout, sample_layout
from tqdm import tqdm

#: The second of a scene's random seeds, where the detection data has 0, 1 and 2.
TRAIN_STREAM = 1000
IMAGE_SIZE = 192
#: Part of the objects that are of the category list; the others show the whole library.
LISTED_PART = 0.7


@dataclass(frozen=True)
class Key:
    """What captions tell apart: an object and what a crop shows of it (None: background)."""

    concept: Concept | None
    kind: str


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
    window = np.concatenate([centre - half, centre + half])
    window = np.clip(window, 0, IMAGE_SIZE)
    inside = np.clip(np.minimum(window[2:], box[2:]) - np.maximum(window[:2], box[:2]), 0, None)
    seen = inside.prod() / size.prod()
    fits = {
        'whole': seen > 0.85,
        'part': 0.25 < seen < 0.65 and inside.prod() > 0.4 * (window[2:] - window[:2]).prod(),
        'far': seen > 0.85,
    }
    return window if fits[kind] and (window[2:] - window[:2]).min() >= 6 else None


def _crop(rng: np.random.Generator, image: np.ndarray, window: np.ndarray, side: int) -> np.ndarray:
    x1, y1, x2, y2 = (*np.floor(window[:2]).astype(int), *np.ceil(window[2:]).astype(int))
    crop = image[y1:y2, x1:x2]
    shrinks = min(crop.shape[:2]) > side
    ways = (cv2.INTER_AREA, cv2.INTER_LINEAR) if shrinks else (cv2.INTER_CUBIC, cv2.INTER_LINEAR)
    return cv2.resize(crop, (side, side), interpolation=ways[rng.integers(2)])


def _background_window(rng: np.random.Generator, boxes: list[np.ndarray]) -> np.ndarray | None:
    start, size = rng.uniform(0, IMAGE_SIZE - 24, 2), rng.uniform(20, 90, 2)
    window = np.concatenate([start, np.minimum(start + size, IMAGE_SIZE)])
    for box in boxes:
        overlap = np.minimum(window[2:], box[2:]) - np.maximum(window[:2], box[:2])
        if (overlap > 3).all():
            return None
    return window


def scene_crops(
    seed: int, concepts: list[Concept], weights: np.ndarray, side: int, index: int
) -> tuple[list[Key], np.ndarray]:
    """Crops of one training scene: n keys and (n, side, side, 3) uint8 RGB."""
    rng = np.random.default_rng([seed, TRAIN_STREAM, index])
    layout = sample_layout(rng, concepts, weights, IMAGE_SIZE)
    image = np.ascontiguousarray(paint_layout(layout, rng)[..., ::-1])
    boxes = [np.array(o.visible.bounds) for o in layout.objects]
    wanted = [(o, b, k) for o, b in zip(layout.objects, boxes, strict=True) for k in _kinds(rng)]
    keys, crops = [], []
    for obj, box, kind in wanted:
        for _ in range(10):
            window = _window(rng, box, kind)
            if window is not None:
                keys.append(Key(obj.concept, kind))
                crops.append(_crop(rng, image, window, side))
                break
    window = _background_window(rng, boxes)
    if window is not None:
        keys.append(Key(None, 'background'))
        crops.append(_crop(rng, image, window, side))
    return keys, np.stack(crops)


def _kinds(rng: np.random.Generator) -> list[str]:
    return ['whole', 'whole', 'part'] + (['far'] if rng.random() < 0.4 else [])


def _single_thread() -> None:
    cv2.setNumThreads(1)


def render_crops(
    seed: int, listed: list[Concept], scenes: int, side: int, workers: int
) -> tuple[list[Key], np.ndarray]:
    """All training crops, ordered by scene: n keys and (n, side, side, 3) uint8 RGB."""
    concepts = all_concepts()
    weights = np.array([1.0 if c.pattern else 3.0 for c in concepts])
    weights *= (1 - LISTED_PART) / weights.sum()
    weights[[concepts.index(c) for c in listed]] += LISTED_PART / len(listed)
    make = partial(scene_crops, seed, concepts, weights, side)
    keys, crops = [], []
    # spawn: a forked process would inherit OpenCV's threads, and hang
    with get_context('spawn').Pool(workers, initializer=_single_thread) as pool:
        found = pool.imap(make, range(scenes), chunksize=16)
        for scene_keys, scene in tqdm(found, total=scenes, desc='scenes', mininterval=1):
            keys += scene_keys
            crops.append(scene)
    return keys, np.concatenate(crops)
