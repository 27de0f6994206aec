"""Which masks of an annotation file are sound: polygons and run lengths, many at a time."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from .annotation_fields import floats

#: Of a number of run lengths, as pycocotools writes them.
MOST_LETTERS = 7


def check_polygons(masks: Sequence[list], far: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Look at masks of polygons [x1, y1, x2, y2, ...].

    Args:
        masks: n lists of polygons.
        far: (n,) no coordinate is larger; pycocotools walks along every edge, pixel by pixel.

    Returns:
        (3, n) bool: which are sound; which lose a polygon in mmdet, of fewer than 3 points or an
        odd number of coordinates; which have no other polygon. And (n, 4), x1, y1, x2, y2 of the
        others; NaN of these.
    """
    try:
        counts = np.fromiter(map(len, masks), int, len(masks))
        polygons = list(chain.from_iterable(masks))
        lengths = np.fromiter(map(len, polygons), int, len(polygons))
        points = floats(chain.from_iterable(polygons))
    except (OverflowError, TypeError):  # something else than numbers
        if len(masks) == 1:
            return np.zeros((3, 1), bool), np.full((1, 4), np.nan)
        parts = [check_polygons([mask], far[i : i + 1]) for i, mask in enumerate(masks)]
        flags, extents = zip(*parts, strict=True)
        return np.concatenate(flags, axis=1), np.concatenate(extents)
    farthest, filled = np.zeros(len(polygons)), lengths > 0
    if filled.any():
        starts = np.cumsum(lengths) - lengths
        farthest[filled] = np.maximum.reduceat(np.abs(points), starts[filled])
    owner = np.repeat(np.arange(len(masks)), counts)
    kept = (lengths >= 6) & (lengths % 2 == 0)
    beyond = ~(farthest <= far[owner])  # NaN is
    wrong, lost, left = (
        np.bincount(owner[which], minlength=len(masks)) for which in (beyond, ~kept, kept)
    )
    corners = points[np.repeat(kept, lengths)].reshape(-1, 2)
    ends = np.cumsum(np.bincount(owner, np.where(kept, lengths // 2, 0), len(masks))).astype(int)
    starts, which = np.r_[0, ends[:-1]][left > 0], np.flatnonzero(left)
    extents = np.full((len(masks), 4), np.nan)
    if len(which):
        ends = (ufunc.reduceat(corners, starts) for ufunc in (np.minimum, np.maximum))
        extents[which] = np.concatenate(list(ends), axis=1)
    return np.stack([wrong == 0, lost > 0, left == 0]), extents


def check_runs(
    masks: Sequence[dict], sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of n masks are run lengths of images of (n, 2) width and height, and which are empty.

    Returns:
        (n,) bool, twice; and (n, 4), x1, y1, x2, y2 of those that are not empty; NaN of others.
    """
    counts = [mask.get('counts') for mask in masks]
    texts = [i for i, count in enumerate(counts) if isinstance(count, str)]
    pixels = np.full(len(masks), -1)
    lengths, of, pixels[texts] = run_lengths([counts[i] for i in texts])
    runs, owners = [lengths], [np.array(texts, int)[of]]
    for i, count in enumerate(counts):
        if (
            isinstance(count, list)
            and set(map(type, count)) <= {int}
            and min(count, default=0) >= 0
        ):
            pixels[i] = min(sum(count), np.iinfo(int).max)
            if 0 <= pixels[i] <= sizes[i].prod():
                runs.append(np.array(count, int))
                owners.append(np.full(len(count), i))
    expected = sizes[:, ::-1].astype(int)
    same = [mask.get('size') == size for mask, size in zip(masks, expected.tolist(), strict=True)]
    empty = np.fromiter(map(_is_empty, counts), bool, len(counts))
    sound = np.array(same, bool) & (pixels == expected.prod(axis=1))
    lengths, owner = np.concatenate(runs), np.concatenate(owners)
    of_sound = sound[owner]
    extents = _extents_of_runs(lengths[of_sound], owner[of_sound], expected[:, 0])
    return sound, empty, extents


def _extents_of_runs(lengths: np.ndarray, owner: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """(n, 4), x1, y1, x2, y2 of masks; NaN of empty ones.

    Args:
        lengths: (r,) of their runs, which go down the columns, outside and inside by turns.
        owner: (r,) the mask of each, all of one in a row.
        heights: (n,) of their images.
    """
    extents = np.full((len(heights), 4), np.nan)
    changes = np.diff(owner, prepend=-1) != 0
    first, group = np.flatnonzero(changes), np.cumsum(changes) - 1
    before = np.cumsum(lengths) - lengths
    inside = (np.arange(len(lengths)) - first[group]) % 2 == 1
    inside &= lengths > 0
    if not inside.any():
        return extents
    owner, height = owner[inside], heights[owner[inside]]
    begin = (before - before[first][group])[inside]
    last = begin + lengths[inside] - 1
    (x1, y1), (x2, y2) = np.divmod(begin, height), np.divmod(last, height)
    whole = x2 > x1  # it goes on in the next column
    y1[whole], y2[whole] = 0, height[whole] - 1
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    ends = np.r_[starts[1:], len(owner)] - 1
    least, most = np.minimum.reduceat(y1, starts), np.maximum.reduceat(y2, starts)
    extents[owner[starts]] = np.stack([x1[starts], least, x2[ends] + 1, most + 1], axis=1)
    return extents


def _is_empty(counts: object) -> bool:
    """Whether run lengths, if they are some, have no pixel: nothing follows the first run."""
    if isinstance(counts, str):  # of which all letters but the last say that there are more
        return len(counts) <= MOST_LETTERS and all(ord(letter) - 48 & 32 for letter in counts[:-1])
    return isinstance(counts, list) and not any(counts[1::2])


def run_lengths(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read run lengths of n masks, in COCO's text form (``rleFrString``).

    A letter has five bits and says whether there are more; from the fourth on, a number is the
    difference with the last but one.

    Returns:
        (r,) int64 lengths and (r,) their masks; and (n,) int64, how many pixels each has: -1 for
        what is cut off, has a negative length, or is another text.
    """
    texts = [text if text.isascii() else '!' for text in texts]
    ends = np.cumsum(np.fromiter(map(len, texts), int, len(texts)))
    bits = np.frombuffer(''.join(texts).encode(), np.uint8) - np.uint8(ord('0'))
    if not len(bits):
        return *np.zeros((2, 0), np.int64), np.zeros(len(texts), np.int64)
    more = (bits & 32) > 0
    more[ends[ends > 0] - 1] = False
    last = np.flatnonzero(~more)  # letter of each number, and so the others
    first = np.r_[0, last[:-1] + 1]
    count = last - first + 1
    values = np.zeros(len(first), np.int64)
    for number in range(min(count.max(), MOST_LETTERS)):
        which = np.flatnonzero(count > number)
        values[which] |= (bits[first[which] + number] & 31).astype(np.int64) << 5 * number
    negative = np.flatnonzero(bits[last] & 16)
    values[negative] -= 1 << 5 * np.minimum(count[negative], MOST_LETTERS)
    numbers = np.diff(np.searchsorted(last, ends), prepend=0)  # of each text
    owner = np.repeat(np.arange(len(texts)), numbers)
    begin = np.repeat(np.cumsum(numbers) - numbers, numbers)
    rank = np.arange(len(values)) - begin
    added, sums = np.where(rank > 0, values, 0), np.empty_like(values)
    for half in (0, 1):  # of a text, numbers 1, 3, 5, ... add up, and so do 2, 4, 6, ...
        sums[half::2] = np.cumsum(added[half::2])
    lengths = sums - (sums - added)[begin + rank % 2]
    lengths[rank == 0] = values[rank == 0]
    pixels = np.bincount(owner, lengths, len(texts)).astype(np.int64)
    pixels[owner[(count > MOST_LETTERS) | (bits[last] & 32 > 0) | (lengths < 0)]] = -1
    pixels[np.searchsorted(ends, np.flatnonzero(bits > 63), side='right')] = -1
    return lengths, owner, pixels
