"""Scenes of the mini world: drawings pasted onto a background, with exact masks."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

#: The longer side of an object in pixels and as a part of the image's; clutter is smaller.
MIN_SIZE, MAX_SIZE_PART = 30.0, 96 / 192
CLUTTER_SIZE = (16.0, 30.0)
#: The longer side of a large object, larger than any other, as a part of the image's.
LARGE_PART = 0.55, 0.8
MIN_OBJECTS, MAX_OBJECTS = 3, 8
#: Least part of an object that is inside the image, and that later objects leave visible.
MIN_INSIDE, MIN_VISIBLE = 0.8, 0.55
#: In a map of labels: what has no name.
UNNAMED = 65535


@dataclass(frozen=True)
class Drawing:
    """One drawing, without its margin.

    Attributes:
        category (str, optional): the category's name; None is clutter.
        word (str): what the teacher is told that it is.
        family (str): who drew it.
        held_out (bool): whether only the test of unseen designs shows it.
        pixels (ndarray): (h, w, 4) uint8, BGR and alpha.
    """

    category: str | None
    word: str
    family: str
    held_out: bool
    pixels: np.ndarray


def load_drawings(folder: Path, categories: Sequence[str] | None = None) -> list[Drawing]:
    """Reads a folder of drawings; see ``drawings.py``.

    Args:
        folder (Path): with its ``index.json``.
        categories (Sequence[str], optional): names of the categories to read (default: all);
            clutter always is.

    Raises:
        ValueError: a file is no picture with an alpha channel.
    """
    drawings = []
    for entry in json.loads((folder / 'index.json').read_text(encoding='utf-8'))['drawings']:
        if categories is not None and entry['category'] not in (None, *categories):
            continue
        picture = cv2.imread(str(folder / entry['file']), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.shape[2:] != (4,) or not picture[..., 3].any():
            raise ValueError(f'{folder / entry["file"]} is no picture with an alpha channel')
        x, y, w, h = cv2.boundingRect((picture[..., 3] > 25).astype(np.uint8))
        pixels = np.ascontiguousarray(picture[y : y + h, x : x + w])
        word = entry['category'] or entry.get('word', 'something')
        held_out = entry.get('held_out', False)
        drawings.append(Drawing(entry['category'], word, entry['family'], held_out, pixels))
    return drawings


@dataclass
class Scene:
    """A picture and what is where in it.

    Attributes:
        pixels (ndarray): (size, size, 3) uint8 BGR.
        drawings (list[Drawing]): the objects, from back to front.
        owners (ndarray): (size, size) int16: ``i`` where ``drawings[i]`` is seen, -1 for the
            background, -2 for clutter.
        stuff (ndarray): (size, size) uint8: the place in ``STUFF`` of the background.
    """

    pixels: np.ndarray
    drawings: list[Drawing]
    owners: np.ndarray
    stuff: np.ndarray


def _noise(rng: np.random.Generator, rows: int, columns: int, size: int) -> np.ndarray:
    """Smooth noise in [-0.5, 0.5] of so many cells: (size, size, 1)."""
    grid = rng.random((rows, columns), dtype=np.float32) - 0.5
    return cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)[..., None]


def _tone(rng: np.random.Generator, *bgr: float) -> np.ndarray:
    return np.array(bgr, np.float32) * rng.uniform(0.85, 1.12) + rng.uniform(-0.05, 0.05, 3)


def _sky(rng: np.random.Generator, size: int) -> np.ndarray:
    height = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    blue = _tone(rng, 0.9, 0.7, 0.45) * (1 - height) + _tone(rng, 0.95, 0.85, 0.75) * height
    clouds = np.clip(2.5 * _noise(rng, 5, 3, size) + _noise(rng, 14, 8, size) - 0.1, 0, 0.8)
    return blue + clouds * (1 - blue)


def _grass(rng: np.random.Generator, size: int) -> np.ndarray:
    blades = 0.35 * _noise(rng, size // 5, size // 2, size) + 0.3 * _noise(rng, 6, 6, size)
    return _tone(rng, 0.22, 0.52, 0.33) * (1 + blades)


def _sand(rng: np.random.Generator, size: int) -> np.ndarray:
    ripples = 0.2 * _noise(rng, 24, 4, size) + 0.15 * _noise(rng, size, size, size)
    return _tone(rng, 0.55, 0.72, 0.82) * (1 + ripples)


def _water(rng: np.random.Generator, size: int) -> np.ndarray:
    waves = 0.45 * _noise(rng, 30, 7, size) + 0.25 * _noise(rng, 4, 4, size)
    return _tone(rng, 0.62, 0.45, 0.18) * (1 + waves) + 0.4 * np.clip(waves - 0.12, 0, 1)


def _tiling(
    rng: np.random.Generator, size: int, height: int, width: int, shift: int
) -> tuple[np.ndarray, np.ndarray]:
    """A number in [-0.5, 0.5] for each tile, and 1 on the joints: (size, size, 1) each."""
    y, x = np.mgrid[:size, :size]
    y = y + rng.integers(height)
    x = x + rng.integers(width) + y // height * shift
    values = rng.random((size // height + 3, 2 * size // width + 64), dtype=np.float32) - 0.5
    columns = x // width % values.shape[1]
    joints = (y % height < 2) | (x % width < 2)
    return values[y // height, columns][..., None], joints[..., None]


def _brick(rng: np.random.Generator, size: int) -> np.ndarray:
    height = int(rng.integers(9, 15))
    tone, joints = _tiling(rng, size, height, 2 * height, height)
    wall = _tone(rng, 0.27, 0.36, 0.62) * (1 + 0.3 * tone + 0.3 * _noise(rng, 60, 60, size))
    return np.where(joints, _tone(rng, 0.66, 0.7, 0.72), wall)


def _wood(rng: np.random.Generator, size: int) -> np.ndarray:
    height = int(rng.integers(18, 34))
    tone, joints = _tiling(rng, size, height, 5 * height, 2 * height)
    grain = 0.35 * _noise(rng, 70, 4, size) + 0.25 * tone
    plank = _tone(rng, 0.28, 0.45, 0.66) * (1 + grain)
    return np.where(joints, 0.55 * plank, plank)


def _tiles(rng: np.random.Generator, size: int) -> np.ndarray:
    side = int(rng.integers(16, 34))
    y, x = np.mgrid[:size, :size] // side
    dark, light = _tone(rng, *rng.uniform(0.25, 0.6, 3)), _tone(rng, *rng.uniform(0.55, 0.9, 3))
    return np.where(((y + x) % 2 == 0)[..., None], dark, light) + 0.1 * _noise(rng, 8, 8, size)


def _cloth(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(8, 24)
    stripes = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)[..., None]
    folds = 0.4 * _noise(rng, 5, 5, size)
    return _tone(rng, *rng.uniform(0.2, 0.8, 3)) * (1 + folds) + rng.uniform(0.02, 0.12) * stripes


#: What backgrounds are made of, by the names that COCO-Stuff has for it.
STUFF = {
    'sky': _sky,
    'grass': _grass,
    'sand': _sand,
    'water': _water,
    'wall-brick': _brick,
    'floor-wood': _wood,
    'floor-tile': _tiles,
    'cloth': _cloth,
}


def _background(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two materials with a border between them: float32 BGR (size, size, 3), and which is where."""
    upper, lower = rng.choice(len(STUFF), 2, replace=False)
    x = np.linspace(-1, 1, size)
    border = size * (rng.uniform(0.25, 0.75) + rng.uniform(-0.2, 0.2) * x)
    below = np.arange(size)[:, None] > border + rng.uniform(0, 6) * np.sin(rng.uniform(2, 9) * x)
    paint = list(STUFF.values())
    pixels = np.where(below[..., None], paint[lower](rng, size), paint[upper](rng, size))
    return pixels.astype(np.float32), np.where(below, lower, upper).astype(np.uint8)


def vary(rng: np.random.Generator, drawing: Drawing, longer: float) -> np.ndarray:
    """A drawing scaled, turned, flipped and in other colours.

    Args:
        rng (Generator): of all but the size.
        drawing (Drawing): what to draw.
        longer (float): its longer side, in pixels.

    Returns:
        ndarray: (s, s, 4) float32 in [0, 1], BGR times alpha, and alpha.
    """
    pixels = drawing.pixels
    stretch = np.exp(rng.uniform(-0.1, 0.1))
    scale = longer / max(pixels.shape[:2])
    width = max(round(pixels.shape[1] * scale * min(stretch, 1)), 2)
    height = max(round(pixels.shape[0] * scale * min(1 / stretch, 1)), 2)
    pixels = pixels.astype(np.float32) / 255
    pixels[..., :3] *= pixels[..., 3:]
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    grey = colours.mean(2, keepdims=True)
    colours = grey + (colours - grey) * rng.uniform(0.6, 1.25)
    colours = colours * (rng.uniform(0.75, 1.15) + rng.uniform(-0.1, 0.1, 3))
    light = np.linspace(-1, 1, height)[:, None, None] * rng.uniform(-0.2, 0.2)
    colours = np.clip(colours * (1 + light), 0, alpha)
    side = int(np.ceil(np.hypot(width, height))) + 2
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 14), 1)
    turn[:, 2] += (side - width) / 2, (side - height) / 2
    pixels = np.concatenate([colours, alpha], 2).astype(np.float32)
    return cv2.warpAffine(pixels, turn, (side, side), flags=cv2.INTER_LINEAR)


def _frame(
    layer: np.ndarray, centre: np.ndarray, size: int
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where in a picture a layer around a centre is, and the part of it that is inside."""
    x, y = np.floor(centre - layer.shape[0] / 2).astype(int)
    rows = slice(max(y, 0), max(min(y + layer.shape[0], size), 0))
    columns = slice(max(x, 0), max(min(x + layer.shape[1], size), 0))
    inside = layer[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    return (rows, columns), inside


def _paste(canvas: np.ndarray, where: tuple[slice, slice], layer: np.ndarray) -> None:
    canvas[where] = canvas[where] * (1 - layer[..., 3:]) + layer[..., :3]


def poor_camera(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """A picture (h, w, 3) uint8 BGR blurred, pale, tinted and noisy."""
    seen = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 1.0)
    seen = (seen - 128) * 0.55 + 128
    seen = seen * np.array([0.85, 1.0, 1.1], np.float32)
    seen += 6 * rng.standard_normal(seen.shape, dtype=np.float32)
    return np.clip(seen, 0, 255).astype(np.uint8)


def compose(
    rng: np.random.Generator,
    picks: Sequence[Drawing],
    clutter: Sequence[Drawing],
    size: int,
    large: Collection[str] = (),
) -> Scene:
    """Pastes drawings onto a background.

    Args:
        rng (Generator): the only source of randomness.
        picks (Sequence[Drawing]): the objects; one for which there is no room is left out.
        clutter (Sequence[Drawing]): what else may lie about.
        size (int): side of the picture, in pixels.
        large (Collection[str]): categories whose objects are larger than all others, and behind.
    """
    canvas, stuff = _background(rng, size)
    owners = np.full((size, size), -1, np.int16)
    for _ in range(rng.integers(1, 6) if clutter else 0):
        layer = vary(rng, clutter[rng.integers(len(clutter))], rng.uniform(*CLUTTER_SIZE))
        where, layer = _frame(layer, rng.uniform(0, size, 2), size)
        owners[where][layer[..., 3] >= 0.5] = -2
        _paste(canvas, where, layer)
    objects: list[Drawing] = []
    areas: list[int] = []
    common = MIN_SIZE, max(MIN_SIZE, MAX_SIZE_PART * size)
    for drawing in sorted(picks, key=lambda drawing: drawing.category not in large):
        sizes = np.array(LARGE_PART) * size if drawing.category in large else common
        for _ in range(12):
            longer = np.exp(rng.uniform(*np.log(sizes)))
            layer = vary(rng, drawing, longer)
            area = int((layer[..., 3] >= 0.5).sum())
            centre = rng.uniform(0.3 * longer, size - 0.3 * longer, 2)
            where, layer = _frame(layer, centre, size)
            seen = layer[..., 3] >= 0.5
            hidden = owners[where][seen]
            hidden = np.bincount(hidden[hidden >= 0], minlength=len(objects))
            visible = np.bincount(owners[owners >= 0], minlength=len(objects)) - hidden
            if seen.sum() < max(MIN_INSIDE * area, 1):
                continue
            if (visible < MIN_VISIBLE * np.array(areas)).any():
                continue
            if rng.random() < 0.5:  # a shadow
                moved = np.roll(layer[..., 3], tuple(rng.integers(1, 5, 2)), (0, 1))
                shadow = cv2.GaussianBlur(moved, (0, 0), 2.5)[..., None]
                canvas[where] *= 1 - rng.uniform(0.2, 0.45) * shadow
            _paste(canvas, where, layer)
            owners[where][seen] = len(objects)
            objects.append(drawing)
            areas.append(area)
            break
    canvas *= rng.uniform(0.82, 1.1)
    if rng.random() < 0.3:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 0.9))
    canvas += rng.uniform(0.01, 0.035) * rng.standard_normal(canvas.shape, dtype=np.float32)
    return Scene(np.clip(canvas * 255, 0, 255).astype(np.uint8), objects, owners, stuff)
