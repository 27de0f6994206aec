"""What in an annotation file is wrong, or is lost without a word by MMDetection and pycocotools."""

from collections import Counter
from collections.abc import Collection
from itertools import chain

import numpy as np

from .annotation_fields import LARGEST, Entries, floats, is_path, shown

#: No image has so many pixels in a row, and no box is so far from its image.
FARTHEST = 1_000_000
#: How far from its image a mask may be, in multiples of the image's size. pycocotools walks along
#: every edge, pixel by pixel.
AROUND = 10
#: Masks that are read together.
CHUNK = 20_000


class CheckedAnnotations:
    """A file in COCO's or LVIS's format, gone through once: in seconds for a million annotations.

    Args:
        content: Of the file.
        file: Its path, for errors.
        path_key: The field of an image with the path of its file.
        folder: What that path is put after.
        class_ids: Ids of the categories to detect, all by default. Boxes and masks of others are
            not looked at.
        masks: As what masks are loaded, ``'polygons'`` or ``'bitmaps'``; if not, ``''``.

    Attributes:
        used: Which annotations mmdet uses, (n,) bool; crowds too, which are not learned.
        doubts: What is wrong unless it is meant, a line each.

    Raises:
        ValueError: Something is plainly wrong; names the first entry that has it.
    """

    def __init__(
        self,
        content: dict,
        file: str,
        path_key: str = 'file_name',
        folder: str = '',
        class_ids: Collection | None = None,
        masks: str = '',
    ) -> None:
        if not isinstance(content, dict):
            raise ValueError(f'{file} holds {shown(content)}; expected an object')
        images, categories, self._all = (
            Entries(content, key, file) for key in ('images', 'categories', 'annotations')
        )
        self.doubts: list[str] = []
        self._counts = {'images': len(images), 'annotations': len(self._all)}
        img_ids, known = images.ids(), categories.ids()
        sizes = [images.numbers(k, 'a number of pixels', 0, FARTHEST) for k in ('width', 'height')]
        what = 'the path of a file' + (f' in {folder}' if folder else '')
        images.check(path_key, {str}, what, lambda paths: [is_path(p, folder) for p in paths])
        for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
            what = 'a list of ids of categories'
            images.check(key, {list}, what, lambda v: [_are_numbers(i) for i in v], optional=True)
        self._doubt_same_files([image[path_key] for image in images])

        self._all.ids()
        self.crowd, ignored = self._all.flags('iscrowd'), self._all.flags('ignore')
        where = self._all.refer('image_id', img_ids)
        self._all.refer('category_id', known, of_none=0 if min(known, default=0) == 1 else None)
        self.category_ids = floats(a['category_id'] for a in self._all).astype(np.int64)
        self.used = np.ones(len(self._all), bool)
        self.drop(~self.of(known), 'of category 0, while ids begin at 1', 'category_id')
        self.drop(~self.of(known if class_ids is None else class_ids), 'of no class')
        self.drop(ignored, '"ignore" is set')
        #: (n, 2), width and height of the image of each annotation.
        self._size = np.stack(sizes, axis=1)[where]
        self._check_boxes()
        if masks:
            self._check_masks(masks == 'polygons')

    def of(self, category_ids: Collection) -> np.ndarray:
        """Which annotations are of these categories, (n,) bool."""
        return np.isin(self.category_ids, list(category_ids))

    def unused(self, category_ids: Collection) -> list:
        """Those of the categories that nothing is learned from."""
        return sorted(set(category_ids) - set(self.category_ids[self.used & ~self.crowd].tolist()))

    def drop(self, which: np.ndarray, why: str, key: str = '') -> None:
        """Leave out some annotations, (n,) bool; with the field that shows why, doubt it."""
        if (which := which & self.used).any():
            self._counts[f'dropped: {why}'] = int(which.sum())
            self.used &= ~which
            if key:
                self._doubt(which, f'are dropped: {why}', key)

    def table(self) -> str:
        """Images, annotations and what becomes of these, a line each."""
        crowd = int((self.used & self.crowd).sum())
        counts = {**self._counts, 'crowd, not learned': crowd, 'used': self.used.sum() - crowd}
        return '\n'.join(f'{count:>12,}  {name}' for name, count in counts.items())

    def _doubt(self, which: np.ndarray, what: str, key: str) -> None:
        if len(rows := np.flatnonzero(which)):
            self.doubts.append(
                f'{len(rows):,} annotations {what}; the first is {self._all.name(rows[0])}, with '
                f'the {key} {shown(self._all[rows[0]][key])}'
            )

    def _doubt_same_files(self, paths: list[str]) -> None:
        counts = Counter(paths)
        if len(counts) < len(paths):
            path, count = counts.most_common(1)[0]
            self.doubts.append(
                f'{len(paths) - len(counts):,} images have a file that another has, too: what is '
                f'annotated in the one is background in the other; {count} are {path!r}'
            )

    def _check_boxes(self) -> None:
        """Drop boxes as mmdet does."""
        rows = np.flatnonzero(self.used)
        wanted, size = self._all.only(rows), self._size[rows]
        wanted.check('bbox', {list}, '[x, y, width, height] in pixels', _are_boxes)
        boxes = floats(chain.from_iterable(a['bbox'] for a in wanted)).reshape(-1, 4)
        area = wanted.numbers('area', 'a number of square pixels')
        start, extent = boxes[:, :2], boxes[:, 2:]
        inside = np.minimum(start + extent, size) - np.maximum(start, 0)
        leaving = ((start < -1) | (start + extent > size + 1)).any(axis=1)
        kind = ''
        if _most(leaving) and _most(((extent > start) & (extent <= size + 1)).all(axis=1), 0.9):
            kind = '. Most boxes of the file look like [x1, y1, x2, y2]'
        elif _most((boxes <= 1).all(axis=1)):
            kind = '. Most boxes of the file look like fractions of the image, not pixels'
        self.drop(
            self._at(rows, (extent < 1).any(axis=1)), 'less than a pixel wide or high', 'bbox'
        )
        self.drop(self._at(rows, (inside <= 0).any(axis=1)), 'outside of the image', 'bbox')
        self.drop(self._at(rows, area <= 0), 'of the area 0', 'area')
        leaving = self._at(rows, leaving) & self.used
        self._doubt(leaving, 'have a box that goes on outside of the image', 'bbox')
        if kind and self.doubts:
            self.doubts[-1] += kind

    def _check_masks(self, only_polygons: bool) -> None:
        """Refuse what pycocotools would crash at, and drop masks as mmdet does."""
        rows = np.flatnonzero(self.used)
        wanted = self._all.only(rows)
        without = [i for i, annotation in enumerate(wanted) if not annotation.get('segmentation')]
        if without:
            raise ValueError(
                f'{wanted.name(without[0])} has no segmentation, nor have {len(without) - 1} '
                'others; add it, or train boxes only, with LoadAnnotations(with_mask=False) and a '
                'model without a mask head'
            )
        runs, odd, empty = np.zeros((3, len(self.used)), bool)

        def sound(masks: list) -> np.ndarray:
            """Fills these arrays, too."""
            fine = np.ones(len(masks), bool)
            for start in range(0, len(masks), CHUNK):
                part = np.arange(start, min(start + CHUNK, len(masks)))
                is_run = np.array([type(masks[i]) is dict for i in part])
                run, polygon = part[is_run], part[~is_run]
                runs[rows[run]] = True
                size = self._size[rows[run]].astype(int).tolist()
                fine[run] = _are_runs([masks[i] for i in run], size)
                far = AROUND * self._size[rows[polygon]].max(axis=1)
                fine[polygon], odd[rows[polygon]], empty[rows[polygon]] = _polygons(
                    [masks[i] for i in polygon], far
                )
            return fine

        what = (
            'a list of polygons [x1, y1, x2, y2, ...] in pixels of the image, or run lengths '
            '("counts") of all pixels with "size" [height, width]'
        )
        wanted.check('segmentation', {list, dict}, what, sound)
        what = 'polygon of fewer than 3 points or an odd number of coordinates'
        self._doubt(odd & ~empty, f'lose a {what}', 'segmentation')
        self.drop(empty, f'no mask but a {what}', 'segmentation')
        if only_polygons:
            why = 'run lengths, which LoadAnnotations(poly2mask=False) ignores'
            self.drop(runs & ~self.crowd, why, 'segmentation')

    def _at(self, rows: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Which of all annotations are those of (m,) rows for which (m,) bool is true."""
        found = np.zeros(len(self.used), bool)
        found[rows[which]] = True
        return found


def _most(which: np.ndarray, fraction: float = 0.5) -> bool:
    return len(which) > 0 and which.mean() > fraction


def _are_numbers(values: object) -> bool:
    if not isinstance(values, list) or not set(map(type, values)) <= {int, float}:
        return False
    return all(abs(value) <= LARGEST for value in values)  # NaN is not


def _are_boxes(values: list[list]) -> list | np.ndarray:
    if set(map(len, values)) <= {4}:
        try:
            boxes = floats(chain.from_iterable(values)).reshape(-1, 4)
            return np.abs(boxes).sum(axis=1) <= FARTHEST  # NaN is not
        except (TypeError, OverflowError):
            pass
    return [len(box) == 4 and _are_numbers(box) for box in values]


def _polygons(masks: list[list], far: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of masks of polygons, (n,) bool each: sound, with a polygon that mmdet drops, with no other.

    Args:
        masks: A list of polygons each.
        far: (n,), the largest coordinate.
    """
    owner = np.repeat(np.arange(len(masks)), list(map(len, masks)))
    polygons = list(chain.from_iterable(masks))
    fine = np.array([type(polygon) is list for polygon in polygons], bool)
    counts = np.array([len(p) if ok else 0 for p, ok in zip(polygons, fine, strict=True)], int)
    try:
        points = floats(chain.from_iterable(p for p in polygons if type(p) is list))
    except (TypeError, OverflowError):  # one by one, to find which
        fine &= [_are_numbers(polygon) for polygon in polygons]
    else:
        which = np.repeat(np.arange(len(polygons)), counts)
        fine[which[~(np.abs(points) <= far[owner[which]])]] = False  # NaN is not
    good = (counts >= 6) & (counts % 2 == 0)
    lacking, left = (np.bincount(owner[which], minlength=len(masks)) for which in (~good, good))
    sound = np.ones(len(masks), bool)
    sound[owner[~fine]] = False
    return sound, lacking > 0, left == 0


def _are_runs(masks: list[dict], sizes: list[list[int]]) -> list[bool]:
    """Whether masks are run lengths of images of (width, height)."""
    counts = [mask.get('counts') for mask in masks]
    texts = [i for i, count in enumerate(counts) if isinstance(count, str)]
    pixels = dict(zip(texts, covered([counts[i] for i in texts]).tolist(), strict=True))
    for i, count in enumerate(counts):
        if (
            isinstance(count, list)
            and set(map(type, count)) <= {int}
            and min(count, default=0) >= 0
        ):
            pixels[i] = sum(count)
    return [
        mask.get('size') == [height, width] and pixels.get(i) == height * width
        for i, (mask, (width, height)) in enumerate(zip(masks, sizes, strict=True))
    ]


def covered(texts: list[str]) -> np.ndarray:
    """How many pixels the run lengths of masks cover, in COCO's text form (``rleFrString``).

    A letter has five bits and says whether there are more; from the fourth on, a number is the
    difference with the last but one.

    Returns:
        (n,) int64; -1 for what is cut off, has a negative length, or is another text.
    """
    sizes = np.array(list(map(len, texts)), int)
    letters = np.frombuffer(''.join(texts).encode('utf-32-le', 'surrogatepass'), '<u4')
    bits = letters.astype(np.int64) - ord('0')
    if not len(bits):
        return np.zeros(len(texts), np.int64)
    text = np.repeat(np.arange(len(texts)), sizes)
    more = (bits & 32) > 0
    ends = ~more | np.r_[text[1:] != text[:-1], True]
    last = np.flatnonzero(ends)
    first = np.r_[0, last[:-1] + 1]
    shift = 5 * (np.arange(len(bits)) - np.repeat(first, last - first + 1))
    broken = (bits < 0) | (bits > 63) | (shift > 30) | (ends & more)
    values = np.add.reduceat((bits & 31) << np.minimum(shift, 30), first)
    values -= ((bits[last] & 16) << 1) << np.minimum(shift[last], 30)
    owner = text[last]
    begin = np.searchsorted(owner, owner)  # the first number of the same text
    rank = np.arange(len(values)) - begin
    lengths = values.copy()
    for parity in (0, 1):  # numbers 1, 3, 5, ... add up, and so do 2, 4, 6, ...
        mine = (rank > 0) & (rank % 2 == parity)
        sums = np.cumsum(np.where(mine, values, 0))
        lengths[mine] = (sums - sums[begin])[mine]
    pixels = np.bincount(owner, lengths, len(texts)).astype(np.int64)
    pixels[np.r_[text[broken], owner[lengths < 0]]] = -1
    return pixels
