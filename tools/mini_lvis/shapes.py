"""The outlines of the mini world's shapes, as polygons in a unit box (y points down).

Shapes are chosen so that no one looks like another at 24 pixels, turned by up to ``MAX_TURN``
degrees and squashed to a square (as a teacher squashes its crops): no pentagon beside a hexagon, no
oblong beside a square. ``tests/tools/test_mini_lvis_generate.py`` measures this for every pair.
"""

import math
from functools import cache

from shapely import affinity
from shapely.geometry import LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

#: Largest turn in degrees, either way; ``TURNS`` has the shapes that need or bear another.
MAX_TURN = 18.0
TURNS = {'square': 10.0, 'diamond': 10.0, 'cross': 12.0, 'circle': 180.0, 'ring': 180.0}


def _disc(x: float, y: float, radius: float) -> Polygon:
    return Point(x, y).buffer(radius, quad_segs=12)


def _oval(x: float, y: float, rx: float, ry: float) -> Polygon:
    return affinity.translate(affinity.scale(_disc(0, 0, 1), rx, ry), x, y)


def _mirror(points: list[tuple[float, float]]) -> Polygon:
    """A polygon from its right half, listed from top to bottom."""
    return Polygon(points + [(-x, y) for x, y in reversed(points)])


def _polar(radii: list[float], start: float = -90.0) -> Polygon:
    step = 2 * math.pi / len(radii)
    angles = [math.radians(start) + i * step for i in range(len(radii))]
    return Polygon([(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)])


def _heart() -> BaseGeometry:
    turns = [2 * math.pi * i / 48 for i in range(48)]
    return Polygon(
        [
            (
                16 * math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)),
            )
            for t in turns
        ]
    )


def _drop() -> BaseGeometry:
    return unary_union([_disc(0, 0.2, 0.36), _mirror([(0, -0.62), (0.335, 0.07)])])


def _fish() -> BaseGeometry:
    body = _oval(-0.1, 0, 0.4, 0.27)
    tail = Polygon([(0.18, 0), (0.52, -0.3), (0.43, 0), (0.52, 0.3)])
    return unary_union([body, tail])


def _flower() -> BaseGeometry:
    angles = [math.radians(72 * i - 90) for i in range(5)]
    petals = [_disc(0.32 * math.cos(a), 0.32 * math.sin(a), 0.17) for a in angles]
    return unary_union([*petals, _disc(0, 0, 0.2)])


def _house() -> BaseGeometry:
    return unary_union(
        [_mirror([(0, -0.5), (0.5, -0.05)]), box(-0.36, -0.06, 0.36, 0.46)]
    ).difference(box(-0.1, 0.14, 0.1, 0.5))


def _tree() -> BaseGeometry:
    tiers = [_mirror([(0, -0.5 + 0.22 * i), (0.24 + 0.09 * i, -0.12 + 0.23 * i)]) for i in range(3)]
    return unary_union([*tiers, box(-0.08, 0.3, 0.08, 0.52)])


def _mushroom() -> BaseGeometry:
    cap = _oval(0, 0, 0.5, 0.44).intersection(box(-1, -1, 1, 0.04))
    return unary_union([cap, box(-0.15, 0, 0.15, 0.46)])


def _cloud() -> BaseGeometry:
    bumps = [
        _disc(-0.3, 0.06, 0.19),
        _disc(-0.08, -0.13, 0.23),
        _disc(0.2, -0.05, 0.2),
        _disc(0.34, 0.1, 0.15),
    ]
    return unary_union([*bumps, box(-0.32, 0.05, 0.36, 0.25)])


def _boat() -> BaseGeometry:
    hull = Polygon([(-0.5, 0.2), (0.5, 0.2), (0.3, 0.46), (-0.32, 0.46)])
    sails = [
        Polygon([(0.04, -0.5), (0.04, 0.12), (0.42, 0.12)]),
        Polygon([(-0.06, -0.36), (-0.06, 0.12), (-0.36, 0.12)]),
    ]
    return unary_union([hull, *sails, box(-0.06, -0.5, 0.04, 0.25)])


def _rabbit() -> BaseGeometry:
    ears = [affinity.rotate(_oval(s * 0.17, -0.26, 0.095, 0.3), s * 10) for s in (-1, 1)]
    return unary_union([*ears, _oval(0, 0.22, 0.33, 0.28)])


def _cactus() -> BaseGeometry:
    arms = [
        LineString([(-0.09, 0.18), (-0.34, 0.18), (-0.34, -0.12)]),
        LineString([(0.09, 0.04), (0.34, 0.04), (0.34, -0.26)]),
    ]
    trunk = LineString([(0, -0.38), (0, 0.5)]).buffer(0.12, cap_style='round')
    return unary_union([trunk, *[a.buffer(0.085, cap_style='round') for a in arms]])


def _butterfly() -> BaseGeometry:
    wings = [affinity.rotate(_oval(s * 0.29, -0.17, 0.25, 0.21), s * -30) for s in (-1, 1)]
    wings += [affinity.rotate(_oval(s * 0.21, 0.21, 0.17, 0.2), s * -30) for s in (-1, 1)]
    return unary_union([*wings, _oval(0, 0.02, 0.05, 0.36)])


def _key() -> BaseGeometry:
    teeth = [box(0.14, 0.05, 0.26, 0.28), box(0.38, 0.05, 0.5, 0.32)]
    return unary_union(
        [_disc(-0.23, 0, 0.28).difference(_disc(-0.23, 0, 0.12)), box(0, -0.09, 0.5, 0.09), *teeth]
    )


def _car() -> BaseGeometry:
    cabin = Polygon([(-0.28, -0.02), (-0.18, -0.3), (0.14, -0.3), (0.27, -0.02)])
    return unary_union(
        [cabin, box(-0.5, -0.05, 0.5, 0.19), _disc(-0.27, 0.2, 0.14), _disc(0.27, 0.2, 0.14)]
    )


def _cup() -> BaseGeometry:
    handle = _disc(0.27, 0.02, 0.24).difference(_disc(0.27, 0.02, 0.13))
    return unary_union(
        [Polygon([(-0.45, -0.38), (0.23, -0.38), (0.16, 0.42), (-0.38, 0.42)]), handle]
    )


def _crescent() -> BaseGeometry:
    return _disc(0, 0, 0.5).difference(_disc(0.24, 0, 0.4))


def _butted(points: list[tuple[float, float]], width: float) -> BaseGeometry:
    return LineString(points).buffer(width, cap_style='flat', join_style='mitre')


_BUILDERS = {
    'arrow': lambda: Polygon(
        [
            (-0.5, -0.13),
            (0.04, -0.13),
            (0.04, -0.38),
            (0.5, 0),
            (0.04, 0.38),
            (0.04, 0.13),
            (-0.5, 0.13),
        ]
    ),
    'boat': _boat,
    'bolt': lambda: Polygon(
        [
            (0, -0.5),
            (-0.36, 0.1),
            (-0.07, 0.1),
            (-0.2, 0.5),
            (0.36, -0.14),
            (0.08, -0.14),
            (0.32, -0.5),
        ]
    ),
    'bow': lambda: Polygon(
        [(-0.5, -0.34), (0, -0.09), (0.5, -0.34), (0.5, 0.34), (0, 0.09), (-0.5, 0.34)]
    ),
    'butterfly': _butterfly,
    'cactus': _cactus,
    'car': _car,
    'chevron': lambda: Polygon(
        [(-0.5, -0.36), (0, 0.02), (0.5, -0.36), (0.5, -0.04), (0, 0.36), (-0.5, -0.04)]
    ),
    'circle': lambda: _disc(0, 0, 0.5),
    'cloud': _cloud,
    'crescent': _crescent,
    'cross': lambda: unary_union([box(-0.16, -0.5, 0.16, 0.5), box(-0.5, -0.16, 0.5, 0.16)]),
    'crown': lambda: _mirror([(0, -0.38), (0.2, 0.02), (0.5, -0.3), (0.4, 0.38)]),
    'cup': _cup,
    'diamond': lambda: _mirror([(0, -0.5), (0.36, 0), (0, 0.5)]),
    'drop': _drop,
    'fish': _fish,
    'flower': _flower,
    'heart': _heart,
    'horseshoe': lambda: (
        _disc(0, -0.06, 0.44)
        .union(box(-0.44, -0.06, 0.44, 0.46))
        .difference(_disc(0, -0.06, 0.21).union(box(-0.21, -0.06, 0.21, 0.6)))
    ),
    'hourglass': lambda: _mirror([(0.36, -0.5), (0.08, 0), (0.36, 0.5)]),
    'house': _house,
    'key': _key,
    'mushroom': _mushroom,
    'pie': lambda: _disc(0, 0, 0.5).difference(Polygon([(0, 0), (0.9, -0.6), (0.9, 0.6)])),
    'rabbit': _rabbit,
    'ring': lambda: _disc(0, 0, 0.5).difference(_disc(0, 0, 0.27)),
    'square': lambda: box(-0.5, -0.5, 0.5, 0.5),
    'stairs': lambda: Polygon(
        [
            (-0.5, 0.46),
            (-0.5, 0.16),
            (-0.17, 0.16),
            (-0.17, -0.15),
            (0.17, -0.15),
            (0.17, -0.46),
            (0.5, -0.46),
            (0.5, 0.46),
        ]
    ),
    'star': lambda: _polar([0.5, 0.2] * 5),
    'tree': _tree,
    'triangle': lambda: _mirror([(0, -0.45), (0.5, 0.42)]),
}

#: Every shape's name.
SHAPES = tuple(_BUILDERS)


@cache
def unit_shape(name: str) -> Polygon:
    """The outline of a shape, centred on the origin, its bounding box's longer side 1.

    Args:
        name (str): one of ``SHAPES``.

    Returns:
        Polygon: the outline, with holes where the shape has them.
    """
    outline = _BUILDERS[name]().simplify(0.004)
    x1, y1, x2, y2 = outline.bounds
    outline = affinity.translate(outline, -(x1 + x2) / 2, -(y1 + y2) / 2)
    scale = 1 / max(x2 - x1, y2 - y1)
    return affinity.scale(outline, scale, scale, origin=(0, 0))
