"""What in an annotation file is wrong, or is lost without a word by MMDetection and pycocotools."""

from collections import Counter
from collections.abc import Collection
from itertools import chain

import numpy as np

from .annotation_fields import LARGEST, Entries, floats, is_path, shown
from .annotation_masks import check_polygons, check_runs

#: No image has so many pixels in a row, and no box is so far from its image.
FARTHEST = 1_000_000
#: How far from its image a mask may be, in multiples of the image's size.
AROUND = 10
#: Masks that are read together.
CHUNK = 20_000


class CheckedAnnotations:
    """A file in COCO's or LVIS's format, gone through once: in seconds for a million annotations.

    Args:
        content: Of the file.
        file: Its path, for errors.
        path_key, folder: The field of an image with the path of its file, and what that is put
            after.
        class_ids: Ids of the categories whose boxes and masks are looked at; all by default.
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
        self.used = np.ones(len(self._all), bool)
        self.doubts: list[str] = []
        self._counts = {'images': len(images), 'annotations': len(self._all)}
        img_ids, known = images.ids(), categories.ids()
        sizes = [images.numbers(k, 'a number of pixels', 0, FARTHEST) for k in ('width', 'height')]
        what = 'the path of a file' + (f' in {folder}' if folder else '')
        paths = images.check(path_key, {str}, what, lambda v: [is_path(p, folder) for p in v])
        for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
            images.check(key, {list}, 'a list of ids of categories', _are_numbers, default=[])
        self._doubt_same_files(paths)

        #: Whether an annotation has the id 0, which pycocotools and lvis take for none.
        self.has_id_0 = 0 in self._all.ids()
        self.crowd, ignored = self._all.flags('iscrowd'), self._all.flags('ignore')
        #: (n, 2), width and height of the image of each annotation.
        self._size = np.stack(sizes, axis=1)[self._all.refer('image_id', img_ids)]
        # Tools that count from 1 may mean the background by 0.
        rows_of = {0: -1, **known} if min(known, default=0) == 1 else known
        self.category_ids = np.array([*known, 0])[self._all.refer('category_id', rows_of)]
        self.drop(~self.of(known), 'of category 0, while ids begin at 1', 'category_id')
        if class_ids is not None:
            self.drop(~self.of(class_ids), 'of no class')
        self.drop(ignored, '"ignore" is set')
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
            if key:
                self._doubt(which, f'are dropped: {why}', key)
            self.used &= ~which

    def table(self) -> str:
        """Images, annotations and what becomes of these, a line each."""
        crowd = int((self.used & self.crowd).sum())
        counts = {**self._counts, 'crowd, not learned': crowd, 'used': self.used.sum() - crowd}
        return '\n'.join(f'{count:>12,}  {name}' for name, count in counts.items())

    def _doubt(self, which: np.ndarray, what: str, key: str) -> None:
        if len(rows := np.flatnonzero(which & self.used)):
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
        self._corners = np.full((len(self.used), 4), np.nan)
        if not len(rows):
            return
        used = self._all.only(rows)
        # Of those that are not used any more, NaN: nothing is true of it.
        boxes, area = np.full((len(self.used), 4), np.nan), np.full(len(self.used), np.nan)
        found = used.check('bbox', {list}, '[x, y, width, height] in pixels', _are_boxes)
        boxes[rows] = floats(chain.from_iterable(found)).reshape(-1, 4)
        area[rows] = used.numbers('area', 'a number of square pixels')
        start, extent, size = boxes[:, :2], boxes[:, 2:], self._size
        inside = np.minimum(start + extent, size) - np.maximum(start, 0)
        leaving = ((start < -1) | (start + extent > size + 1)).any(axis=1)
        corners = ((extent > start) & (extent <= size + 1)).all(axis=1)
        kind = ''
        if leaving[rows].mean() > 0.5 and corners[rows].mean() > 0.9:
            kind = '. Most boxes of the file look like [x1, y1, x2, y2]'
        elif (boxes[rows] <= 1).all(axis=1).mean() > 0.5:
            kind = '. Most boxes of the file look like fractions of the image, not pixels'
        self._corners = np.concatenate([start, start + extent], axis=1)
        self.drop((extent < 1).any(axis=1), 'less than a pixel wide or high', 'bbox')
        self.drop((inside <= 0).any(axis=1), 'outside of the image', 'bbox')
        self.drop(area <= 0, 'of the area 0', 'area')
        self._doubt(leaving, 'have a box that goes on outside of the image', 'bbox')
        if kind and self.doubts:
            self.doubts[-1] += kind

    def _check_masks(self, only_polygons: bool) -> None:
        """Refuse what pycocotools would crash at, and drop masks as mmdet does."""
        rows = np.flatnonzero(self.used)
        used = self._all.only(rows)
        without = [i for i, annotation in enumerate(used) if not annotation.get('segmentation')]
        if without:
            raise ValueError(
                f'{used.name(without[0])} has no segmentation, nor have {len(without) - 1} '
                'others; add it, or train boxes only, with LoadAnnotations(with_mask=False) and a '
                'model without a mask head'
            )
        are_runs, lost, empty, apart = np.zeros((4, len(self.used)), bool)

        def sound(masks: list) -> np.ndarray:
            """Fills these arrays, too."""
            fine = np.zeros(len(self.used), bool)
            is_run = np.fromiter((type(mask) is dict for mask in masks), bool, len(masks))
            for of_runs in (True, False):
                chosen = np.flatnonzero(is_run == of_runs)
                for part in np.split(chosen, range(CHUNK, len(chosen), CHUNK)):
                    at, some = rows[part], [masks[i] for i in part.tolist()]
                    if of_runs:
                        are_runs[at] = True
                        fine[at], apart[at] = check_runs(some, self._size[at])
                    else:
                        far = AROUND * self._size[at].max(axis=1)
                        fine[at], lost[at], empty[at], apart[at] = check_polygons(
                            some, far, self._corners[at]
                        )
            return fine[rows]

        what = (
            'a list of polygons [x1, y1, x2, y2, ...] in pixels of the image, or run lengths '
            '("counts") of all pixels with "size" [height, width]'
        )
        used.check('segmentation', {list, dict}, what, sound)
        what = 'polygon of fewer than 3 points or an odd number of coordinates'
        self._doubt(lost & ~empty, f'lose a {what}', 'segmentation')
        self.drop(empty, f'no mask but a {what}', 'segmentation')
        self._doubt(apart, 'have a mask that covers nothing of their box', 'segmentation')
        if only_polygons:
            why = 'run lengths, which LoadAnnotations(poly2mask=False) ignores'
            self.drop(are_runs & ~self.crowd, why, 'segmentation')


def _are_numbers(lists: list[list]) -> list[bool]:
    return [set(map(type, v)) <= {int} and all(abs(i) <= LARGEST for i in v) for v in lists]


def _are_boxes(values: list[list]) -> np.ndarray:
    if set(map(len, values)) - {4}:
        raise ValueError  # for each to be looked at by itself
    boxes = floats(chain.from_iterable(values), {int, float}).reshape(-1, 4)
    return np.abs(boxes).sum(axis=1) <= FARTHEST  # NaN is not
