"""Draws the mini world: what is where (a ``Layout``) first, then its pixels.

The two are apart so that the annotations of an image can be had without drawing it. Coordinates are
continuous pixels as in COCO: pixel ``i`` covers ``[i, i + 1)``.
"""

import colorsys
from dataclasses import dataclass, field

import cv2
import numpy as np
from concepts import COLOUR_SPREAD, COLOURS, Concept
from shapely import affinity
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry
from shapes import MAX_TURN, SHAPES, TURNS, unit_shape

#: Shortest object in pixels and longest as a part of the image, by the longer side before turning.
MIN_SIZE, MAX_SIZE_PART = 24.0, 90 / 192
#: Least part of an object that neither later objects nor the image border hide.
MIN_VISIBLE = 0.75
MIN_OBJECTS, MAX_OBJECTS = 3, 7

_SUPERSAMPLING = 3
_DARK_TONE = 0.22


@dataclass
class SceneObject:
    """One object of a scene.

    Attributes:
        concept (Concept): what it is.
        outline (Polygon): all of its outline, even where hidden or outside the image, in pixels.
        visible (BaseGeometry): the part of it that is seen; set by ``sample_layout``.
        size (float): the longer side before turning, in pixels.
        angle (float): its turn in radians.
        colour (ndarray): BGR in [0, 1].
        light (ndarray): direction and strength of the shading (brightness change an object size).
    """

    concept: Concept
    outline: Polygon
    size: float
    angle: float
    colour: np.ndarray
    light: np.ndarray
    visible: BaseGeometry = field(init=False)

    def __post_init__(self) -> None:
        self.visible = self.outline


@dataclass
class Layout:
    """What is in a scene: its objects from back to front, and the image's side in pixels."""

    image_size: int
    objects: list[SceneObject]


def _sample_object(
    rng: np.random.Generator, concept: Concept, centre: np.ndarray, size: float
) -> SceneObject:
    turn = TURNS.get(concept.shape, MAX_TURN)
    angle = rng.uniform(-turn, turn)
    stretch = np.exp(rng.uniform(-0.1, 0.1))
    flip = rng.choice((-1, 1))
    outline = affinity.scale(
        unit_shape(concept.shape),
        flip * size * min(stretch, 1),
        size * min(1 / stretch, 1),
        origin=(0, 0),
    )
    outline = affinity.rotate(outline, angle, origin=(0, 0))
    spread = np.array(COLOUR_SPREAD) * rng.uniform(-1, 1, 3)
    hue, saturation, value = np.array(COLOURS[concept.colour]) + spread
    rgb = colorsys.hsv_to_rgb(hue % 360 / 360, np.clip(saturation, 0, 1), np.clip(value, 0, 1))
    heading = rng.uniform(0, 2 * np.pi)
    light = rng.uniform(0.05, 0.3) * np.array([np.cos(heading), np.sin(heading)])
    return SceneObject(
        concept,
        affinity.translate(outline, *centre),
        size,
        np.radians(angle),
        np.array(rgb[::-1]),
        light,
    )


def sample_layout(
    rng: np.random.Generator, concepts: list[Concept], weights: np.ndarray, image_size: int
) -> Layout:
    """Places 3 to 7 objects so that at least ``MIN_VISIBLE`` of each is seen.

    Args:
        rng (Generator): the only source of randomness.
        concepts (list[Concept]): what may appear.
        weights (ndarray): (len(concepts),) how often each appears, relative to the others.
        image_size (int): the image's side in pixels.
    """
    frame = box(0, 0, image_size, image_size)
    chance = np.asarray(weights, dtype=float) / np.sum(weights)
    sizes = MIN_SIZE, max(MIN_SIZE, MAX_SIZE_PART * image_size)
    objects: list[SceneObject] = []
    for index in rng.choice(len(concepts), rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1), p=chance):
        for _ in range(20):
            size = np.exp(rng.uniform(*np.log(sizes)))
            centre = rng.uniform(0.4 * size, image_size - 0.4 * size, 2)
            candidate = _sample_object(rng, concepts[index], centre, size)
            candidate.visible = candidate.outline.intersection(frame)
            if candidate.visible.area < MIN_VISIBLE * candidate.outline.area:
                continue
            left = [o.visible.difference(candidate.outline) for o in objects]
            if all(
                v.area >= MIN_VISIBLE * o.outline.area for o, v in zip(objects, left, strict=True)
            ):
                for o, v in zip(objects, left, strict=True):
                    o.visible = v
                objects.append(candidate)
                break
    return Layout(image_size, objects)


def polygon_rings(shape: BaseGeometry, min_area: float = 4.0) -> list[list[float]]:
    """Turns a visible outline into COCO polygons; these have no holes, so holes are cut open.

    Args:
        shape (BaseGeometry): polygons in pixels.
        min_area (float): smaller pieces are dropped, in square pixels.

    Returns:
        list[list[float]]: ``[x1, y1, x2, y2, ...]`` for each ring, rounded to 0.01 pixels.
    """
    rings = []
    pieces = [p for p in getattr(shape, 'geoms', [shape]) if isinstance(p, Polygon)]
    while pieces:
        piece = pieces.pop()
        if piece.area < min_area:
            continue
        if piece.interiors:
            x1, y1, x2, y2 = piece.bounds
            cut = piece.interiors[0].centroid.x
            for half in (box(x1, y1, cut, y2), box(cut, y1, x2, y2)):
                part = piece.intersection(half)
                pieces.extend(p for p in getattr(part, 'geoms', [part]) if isinstance(p, Polygon))
        else:
            rings.append([round(float(v), 2) for v in np.ravel(piece.exterior.coords[:-1])])
    return sorted(rings)


def _upsampled_noise(
    rng: np.random.Generator, cells: tuple[int, int], size: int, channels: int
) -> np.ndarray:
    grid = rng.random((cells[0], cells[1], channels), dtype=np.float32) - 0.5
    return cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC).reshape(
        size, size, channels
    )


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) float32 BGR in [0, 1]: dull colours, a coarse and a fine texture."""
    base = rng.uniform(0.28, 0.6) + rng.uniform(-0.06, 0.06, 3)
    canvas = base.astype(np.float32) + 0.25 * _upsampled_noise(rng, (5, 5), size, 3)
    grain = [(48, 48), (12, 96), (96, 12), (24, 24)][rng.integers(4)]
    canvas += rng.uniform(0.06, 0.2) * _upsampled_noise(rng, grain, size, 1)
    return canvas


def _coverage(outline: Polygon, origin: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """How much of each pixel a polygon covers: (h, w) float32 in [0, 1], at ``origin`` (x, y)."""
    scale, bits = _SUPERSAMPLING, 4
    mask = np.zeros((shape[0] * scale, shape[1] * scale), np.uint8)
    rings = [np.asarray(r.coords) for r in (outline.exterior, *outline.interiors)]
    points = [np.round(((r - origin) * scale - 0.5) * (1 << bits)).astype(np.int32) for r in rings]
    cv2.fillPoly(mask, points, 255, shift=bits)
    return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _patch(outline: Polygon, size: int) -> tuple[slice, slice] | None:
    """Rows and columns of the image that a polygon touches, or None if it is outside."""
    x1, y1, x2, y2 = outline.bounds
    x1, y1 = max(int(x1) - 1, 0), max(int(y1) - 1, 0)
    x2, y2 = min(int(x2) + 2, size), min(int(y2) + 2, size)
    return (slice(y1, y2), slice(x1, x2)) if x2 > x1 and y2 > y1 else None


def _tone(obj: SceneObject, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """An object's pattern at offsets from its centre: brightness (h, w) in [_DARK_TONE, 1]."""
    if not obj.concept.pattern:
        return np.ones(np.broadcast_shapes(dx.shape, dy.shape), np.float32)
    period = max(0.24 * obj.size, 6.5)
    cos, sin = np.cos(obj.angle), np.sin(obj.angle)
    u, v = (dx * cos + dy * sin) / period, (dy * cos - dx * sin) / period
    if obj.concept.pattern == 'striped':
        wave = np.sin(2 * np.pi * (u + v) * 0.75)
    elif obj.concept.pattern == 'checkered':
        wave = np.sin(np.pi * u) * np.sin(np.pi * v) * 1.6
    else:  # dotted: discs on a square lattice
        lattice_u, lattice_v = u * 1.1 - np.round(u * 1.1), v * 1.1 - np.round(v * 1.1)
        wave = (0.3 - np.hypot(lattice_u, lattice_v)) * 4.5
    return 1 - (1 - _DARK_TONE) * np.clip(0.4 + (wave - 0.15) * period * 0.35, 0, 1)


def _paint(canvas: np.ndarray, obj: SceneObject) -> None:
    rows_cols = _patch(obj.outline, len(canvas))
    if rows_cols is None:
        return
    patch = canvas[rows_cols]
    rows, cols = rows_cols
    alpha = _coverage(obj.outline, (cols.start, rows.start), patch.shape[:2])[..., None]
    middle = obj.outline.envelope.centroid
    dx = (np.arange(cols.start, cols.stop, dtype=np.float32) + 0.5 - middle.x)[None, :]
    dy = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - middle.y)[:, None]
    shade = (1 + (dx * obj.light[0] + dy * obj.light[1]) / obj.size) * _tone(obj, dx, dy)
    rim = max(1, round(0.035 * obj.size))
    inside = cv2.erode(alpha, np.ones((2 * rim + 1,) * 2, np.uint8), borderValue=1.0)
    shade *= 0.62 + 0.38 * inside
    patch += alpha * (shade[..., None] * obj.colour.astype(np.float32) - patch)


def _clutter(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """Lines, blobs and small scraps of shapes, which are no objects."""
    size = len(canvas)
    for _ in range(rng.integers(3, 8)):
        ends = (rng.uniform(0, size, (2, 2)) * 16).astype(int)
        ends[1] = ends[0] + (ends[1] - ends[0]) * rng.uniform(0.1, 0.6)
        colour = canvas[rng.integers(size), rng.integers(size)] + rng.uniform(-0.25, 0.25, 3)
        cv2.line(
            canvas,
            ends[0].tolist(),
            ends[1].tolist(),
            colour.tolist(),
            int(rng.integers(1, 3)),
            cv2.LINE_AA,
            4,
        )
    for _ in range(rng.integers(2, 6)):  # blobs: ragged, in dull colours
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radii = rng.uniform(0.35, 1, 9) * rng.uniform(4, 0.09 * size)
        points = rng.uniform(0, size, 2) + radii[:, None] * np.stack(
            [np.cos(angles), np.sin(angles)], 1
        )
        colour = rng.uniform(0.2, 0.75) + rng.uniform(-0.12, 0.12, 3)
        cv2.fillPoly(
            canvas, [np.round(points * 16).astype(np.int32)], colour.tolist(), cv2.LINE_AA, 4
        )
    names = list(COLOURS)
    for _ in range(rng.integers(1, 4)):  # scraps: half a shape, smaller than any object
        concept = Concept('', names[rng.integers(len(names))], SHAPES[rng.integers(len(SHAPES))])
        scrap = _sample_object(rng, concept, rng.uniform(0, size, 2), rng.uniform(9, 17))
        x, y = scrap.outline.centroid.coords[0]
        heading = rng.uniform(0, 2 * np.pi)
        half = affinity.rotate(
            box(x, y - size, x + size, y + size), heading, (x, y), use_radians=True
        )
        pieces = scrap.outline.intersection(half)
        for piece in pieces.geoms if isinstance(pieces, MultiPolygon) else [pieces]:
            if isinstance(piece, Polygon):
                scrap.outline = piece
                _paint(canvas, scrap)


def paint_layout(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """Draws a scene.

    Args:
        layout (Layout): what to draw.
        rng (Generator): the source of background, clutter and noise.

    Returns:
        ndarray: (image_size, image_size, 3) uint8 BGR.
    """
    size = layout.image_size
    canvas = _background(rng, size)
    _clutter(rng, canvas)
    for obj in layout.objects:
        _paint(canvas, obj)
    noise = rng.integers(0, 256, canvas.shape, dtype=np.uint8).astype(np.float32) / 255 - 0.5
    canvas += rng.uniform(0.03, 0.1) * noise
    canvas *= rng.uniform(0.9, 1.08)
    return np.clip(canvas * 255, 0, 255).astype(np.uint8)


def visible_ids(layout: Layout) -> np.ndarray:
    """The scene's instance map, drawn as its pixels are.

    Args:
        layout (Layout): what to draw.

    Returns:
        ndarray: (image_size, image_size) int32, 0 for background, ``i + 1`` for ``objects[i]``.
    """
    size = layout.image_size
    ids = np.zeros((size, size), np.int32)
    for i, obj in enumerate(layout.objects):
        rows, cols = _patch(obj.outline, size)
        alpha = _coverage(
            obj.outline, (cols.start, rows.start), (rows.stop - rows.start, cols.stop - cols.start)
        )
        ids[rows, cols][alpha >= 0.5] = i + 1
    return ids
