"""What in an annotation file MMDetection would take for something else, or pycocotools crash at."""

import os
from numbers import Real

import numpy as np

#: No image has so many pixels in a row, and no box is so far from its image.
FARTHEST = 1_000_000
#: How far from its image a mask may be, in multiples of the image's size. pycocotools walks along
#: every edge, pixel by pixel.
AROUND = 10


def check_image(image: dict, folder: str, where: str) -> None:
    """Refuse an image without an id, a size or the name of a file.

    Args:
        image: ``id``, ``height``, ``width`` and ``file_name``.
        folder: What the file name is put after.
        where: What to call it in errors.

    Raises:
        ValueError: One of them is something else.
    """
    img_id = image['id']
    if not isinstance(img_id, (Real, str)) or img_id != img_id:  # NaN
        raise ValueError(f'{where} has the id {_shown(img_id)}; expected a number or a text')
    for key in ('height', 'width'):
        value = image[key]
        if not isinstance(value, Real) or not 0 < value <= FARTHEST:
            raise ValueError(f'{where} has {key} {_shown(value)}; expected a number of pixels')
    name = image['file_name']
    try:
        usable = '\0' not in name and bool(os.fsencode(name))
    except (TypeError, UnicodeEncodeError):
        usable = False
    if not usable or (folder and '://' in name):
        raise ValueError(
            f'{where} names the file {_shown(name)}; expected the path of a file'
            + (f' in {folder}' if folder else '')
        )


def check_box(annotation: dict, where: str) -> None:
    """Refuse a box that is not four numbers of pixels.

    Args:
        annotation: With ``bbox`` (x, y, w, h).
        where: What to call it in errors.

    Raises:
        ValueError: It is something else.
    """
    box = annotation['bbox']
    try:
        x, y, w, h = box
        usable = abs(x) + abs(y) + abs(w) + abs(h) <= FARTHEST  # false where one is NaN
    except (TypeError, ValueError):
        usable = False
    if not usable:
        raise ValueError(
            f'{where} has the bbox {_shown(box)}; expected [x, y, width, height] in pixels'
        )


def check_mask(mask: object, height: int, width: int, where: str) -> None:
    """Refuse a mask that is neither polygons nor the run lengths of the image.

    Args:
        mask: A ``segmentation`` in COCO's format.
        height: Of the image.
        width: Of the image.
        where: What to call it in errors.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(mask, list):
        for polygon in mask:
            try:
                points = np.array(polygon if isinstance(polygon, list) else None)
            except ValueError:  # lists of several lengths
                points = np.array(None)
            farthest = AROUND * max(height, width)
            if points.dtype.kind not in 'iuf' or not (np.abs(points) <= farthest).all():
                raise ValueError(
                    f'{where} has a segmentation with the polygon {_shown(polygon)}; expected '
                    f'[x1, y1, x2, y2, ...] in pixels of an image of {width}x{height}'
                )
        return
    try:
        size, counts = mask['size'], mask['counts']
        lengths = run_lengths(counts) if isinstance(counts, str) else counts
        whole = all(type(length) is int and length >= 0 for length in lengths)
        usable = whole and size == [height, width] and sum(lengths) == height * width
    except (KeyError, TypeError, ValueError):
        usable = False
    if not usable:
        raise ValueError(
            f'{where} has the segmentation {_shown(mask)}; expected a list of polygons, or run '
            f'lengths ("counts") of all pixels with "size" [{height}, {width}]'
        )


def run_lengths(text: str) -> list[int]:
    """Run lengths out of COCO's text form of them (pycocotools, ``rleFrString``).

    A letter has five bits and says whether there are more; from the fourth on, a number is the
    difference with the last but one.

    Raises:
        ValueError: It is cut off, or another text.
    """
    lengths, value, shift = [], 0, 0
    for letter in text:
        bits = ord(letter) - ord('0')
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError(f'{_shown(text)} holds no run lengths')
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError(f'{_shown(text)} is cut off')
    return lengths


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 100 else f'{text[:100]}...'
