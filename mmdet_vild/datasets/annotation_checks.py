"""What in an annotation file is wrong, or is lost without a word by MMDetection and pycocotools."""

from collections import Counter
from collections.abc import Collection
from itertools import chain

import numpy as np
from mmengine.logging import MMLogger

from .annotation_fields import LARGEST, Entries, Segments, floats, normal_path, shown
from .annotation_masks import check_polygons, check_runs

#: No image has so many pixels in a row, and no box is so far from its image.
FARTHEST = 1_000_000
#: How far from its image a mask may be, in multiples of the image's size.
AROUND = 10
#: As many ids of segments can be written as colours.
MOST_SEGMENTS = 256**3
#: Masks that are read together.
CHUNK = 20_000
#: How far the edges of a mask may be from those of its box, in pixels and as a part of the larger
#: of the two; and how many masks may be farther before their file is doubted.
EDGE, EDGE_PART, FEW = 5, 0.2, 0.1


class Checked:
    """Annotations of a file, or segments: which of them are used, and what to say of them.

    Args:
        entries: All of them.
        counts: What else the file has, for the table.

    Attributes:
        used: Which are used, (n,) bool; crowds too, which are not learned.
        crowd: (n,) bool; to be set.
        category_ids: (n,); to be set.
        doubts: What is wrong unless it is meant, a line each.
    """

    crowd: np.ndarray
    category_ids: np.ndarray

    def __init__(self, entries: Entries, **counts: int) -> None:
        self._all = entries
        self.used = np.ones(len(entries), bool)
        self.doubts: list[str] = []
        self._counts = {**counts, entries.key: len(entries)}

    def of(self, category_ids: Collection) -> np.ndarray:
        """Which are of these categories, (n,) bool."""
        return np.isin(self.category_ids, list(category_ids))

    def unused(self, category_ids: Collection) -> list:
        """Those of the categories that nothing is learned from."""
        return sorted(set(category_ids) - set(self.category_ids[self.used & ~self.crowd].tolist()))

    def drop(self, which: np.ndarray, why: str, key: str = '') -> None:
        """Leave out some, (n,) bool; with the field that shows why, doubt it."""
        if (which := which & self.used).any():
            self._counts[f'dropped: {why}'] = int(which.sum())
            if key:
                self._doubt(which, f'are dropped: {why}', key)
            self.used &= ~which

    def tell(self) -> None:
        """Log the table, and one warning of all doubts."""
        logger = MMLogger.get_current_instance()
        # Not by arguments: MMLogger takes warnings of one template for the same warning.
        logger.info(f'{self._all.file}:\n{self.table()}')
        if self.doubts:
            doubts = '\n'.join(f'- {doubt}' for doubt in self.doubts)
            logger.warning(f'{self._all.file} may not say what is meant:\n{doubts}')

    def table(self) -> str:
        """How many there are and what becomes of these, a line each."""
        crowd = int((self.used & self.crowd).sum())
        counts = {**self._counts, 'crowd, not learned': crowd, 'used': self.used.sum() - crowd}
        return '\n'.join(f'{count:>12,}  {name}' for name, count in counts.items())

    def _doubt(self, which: np.ndarray, what: str, key: str) -> None:
        if len(rows := np.flatnonzero(which & self.used)):
            self.doubts.append(
                f'{len(rows):,} {self._all.key} {what}; the first is {self._all.name(rows[0])}, '
                f'with the {key} {shown(self._all[rows[0]].get(key))}'
            )

    def _doubt_same_files(self, paths: list[str], folder: str) -> None:
        files = [normal_path(path, folder) for path in paths]
        counts = Counter(files)
        if len(counts) < len(files):
            file, count = counts.most_common(1)[0]
            same = [path for path, other in zip(paths, files, strict=True) if other == file]
            self.doubts.append(
                f'{len(files) - len(counts):,} images have a file that another has, too: what is '
                f'annotated in the one is background in the other; {count} are '
                + ' or '.join(map(shown, dict.fromkeys(same)))
            )


class CheckedAnnotations(Checked):
    """A file in COCO's or LVIS's format, gone through once: in seconds for a million annotations.

    Args:
        content: Of the file.
        file: Its path, for errors.
        path_key, folder: The field of an image with the path of its file, and what that is put
            after.
        class_ids: Ids of the categories whose boxes and masks are looked at; all by default.
        masks: As what masks are loaded, ``'polygons'`` or ``'bitmaps'``; if not, ``''``.

    Attributes:
        used: Which annotations mmdet uses, see :class:`Checked`.
        has_id_0: Whether an annotation has the id 0, which pycocotools and lvis take for none.

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
        images, categories, annotations = (
            Entries(content, key, file) for key in ('images', 'categories', 'annotations')
        )
        super().__init__(annotations, images=len(images))
        img_ids, known = images.ids(), categories.ids()
        sizes = [images.numbers(k, 'a number of pixels', 0, FARTHEST) for k in ('width', 'height')]
        paths = images.paths(path_key, folder)
        for key in ('neg_category_ids', 'not_exhaustive_category_ids'):
            images.check(key, {list}, 'a list of ids of categories', _are_numbers, default=[])
        self._doubt_same_files(paths, folder)

        self.has_id_0 = 0 in self._all.ids()
        self.crowd, ignored = self._all.flags('iscrowd'), self._all.flags('ignore')
        self._image = self._all.refer('image_id', img_ids)
        #: (n, 2), width and height of the image of each annotation.
        self._size = np.stack(sizes, axis=1)[self._image]
        # Tools that count from 1 may mean the background by 0.
        rows_of = {0: -1, **known} if min(known, default=0) == 1 else known
        self.category_ids = np.array([*known, 0])[self._all.refer('category_id', rows_of)]
        self.drop(~self.of(known), 'of category 0, while ids begin at 1', 'category_id')
        if class_ids is not None:
            self.drop(~self.of(class_ids), 'of no class')
        if (self.crowd | ignored)[self.used].sum() > self.used.sum() / 2:
            why = ': of most of the file nothing is learned, nor is it counted in tests'
            self._doubt(self.crowd, f'are crowds{why}', 'iscrowd')
            self._doubt(ignored, f'are ignored{why}', 'ignore')
        self.drop(ignored, '"ignore" is set')
        self._check_boxes()
        self._doubt_same_boxes()
        if masks:
            self._check_masks(masks == 'polygons')

    def _doubt_same_boxes(self) -> None:
        columns = (self._image, self.category_ids, *self._corners.T)
        order = np.lexsort(columns)
        same = [column[order[1:]] == column[order[:-1]] for column in columns]
        which = np.zeros(len(order), bool)
        which[order[1:][np.logical_and.reduce(same)]] = True
        what = 'have image, category and box of another annotation, too: each is counted twice'
        self._doubt(which, what, 'bbox')

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
        extents = np.full((len(self.used), 4), np.nan)

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
                        fine[at], apart[at], extents[at] = check_runs(some, self._size[at])
                    else:
                        far = AROUND * self._size[at].max(axis=1)
                        flags, extents[at] = check_polygons(some, far)
                        fine[at], lost[at], empty[at] = flags
            return fine[rows]

        what = (
            'a list of polygons [x1, y1, x2, y2, ...] in pixels of the image, or run lengths '
            '("counts") of all pixels with "size" [height, width]'
        )
        used.check('segmentation', {list, dict}, what, sound)
        what = 'polygon of fewer than 3 points or an odd number of coordinates'
        self._doubt(lost & ~empty, f'lose a {what}', 'segmentation')
        self.drop(empty, f'no mask but a {what}', 'segmentation')
        least, most = (f(extents, self._corners) for f in (np.minimum, np.maximum))
        apart |= (least[:, 2:] <= most[:, :2]).any(axis=1)
        most, least = (corners.clip(0, np.tile(self._size, 2)) for corners in (most, least))
        size = np.tile(most[:, 2:] - least[:, :2], 2)  # of both together
        off = (most - least > EDGE + EDGE_PART * size).any(axis=1) & self.used
        many = off.sum() > FEW * np.isfinite(extents[self.used, 0]).sum()
        form = self._form_of_boxes(extents, off) if many else ''
        self._doubt(apart, f'have a mask that covers nothing of their box{form}', 'segmentation')
        if many:
            self._doubt(off & ~apart, f'have a box that is not around their mask{form}', 'bbox')
        if only_polygons:
            why = 'run lengths, which LoadAnnotations(poly2mask=False) ignores'
            self.drop(are_runs & ~self.crowd, why, 'segmentation')

    def _form_of_boxes(self, extents: np.ndarray, which: np.ndarray) -> str:
        """What boxes may be, if the extents of their masks say so."""
        numbers = self._corners - np.pad(self._corners[:, :2], ((0, 0), (2, 0)))  # of the file
        start, extent = numbers[which, :2], numbers[which, 2:]
        forms = {
            '[x1, y1, x2, y2]': (start, extent),
            '[x, y, width, height] of which x, y is the centre': (
                start - extent / 2,
                start + extent / 2,
            ),
            '[y, x, height, width]': (start[:, ::-1], (start + extent)[:, ::-1]),
        }
        for name, corners in forms.items():
            off = np.abs(np.concatenate(corners, axis=1) - extents[which])
            if (off <= EDGE).all(axis=1).mean() > 0.5:
                return f' (most boxes look like {name})'
        return ''


class CheckedSegments(Checked):
    """The segments of a file in COCO's panoptic format, gone through once.

    Args:
        content: Of the file.
        file: Its path, for errors.
        folders: Of the pictures, and of the PNGs.

    Raises:
        ValueError: Something is plainly wrong; names the first entry that has it.
    """

    def __init__(self, content: dict, file: str, folders: tuple[str, str]) -> None:
        if not isinstance(content, dict):
            raise ValueError(f'{file} holds {shown(content)}; expected an object')
        images, categories, annotations = (
            Entries(content, key, file) for key in ('images', 'categories', 'annotations')
        )
        img_ids, known = images.ids(), categories.ids()
        for key in ('width', 'height'):
            images.numbers(key, 'a number of pixels', 0, FARTHEST)
        paths = images.paths('file_name', folders[0])
        categories.check('name', {str}, 'a text')
        categories.flags('isthing', default=None)
        annotations.paths('file_name', folders[1])
        image = annotations.refer('image_id', img_ids)
        found = np.bincount(image, minlength=len(images))
        if (twice := np.flatnonzero(found > 1)).size:
            raise ValueError(
                f'{file} has {found[twice[0]]} annotations of {images.name(twice[0])}; put the '
                f'segments of both into one, as in {len(twice) - 1:,} other images'
            )
        listed = annotations.check('segments_info', {list}, 'a list of objects', _are_objects)
        segments = Segments(listed, [images[row]['id'] for row in image.tolist()], file)
        super().__init__(segments, images=len(images), annotations=len(annotations))
        self._doubt_same_files(paths, folders[0])
        what = f'a whole number from 0 to {MOST_SEGMENTS - 1:,}, which three colours can say'
        ids = np.array(segments.check('id', {int}, what, _are_colors), np.int64)
        order = np.argsort(at := segments.owner * MOST_SEGMENTS + ids, kind='stable')
        if (same := np.flatnonzero(np.diff(at[order]) == 0)).size:
            raise ValueError(
                f'{segments.name(order[same[0]])} is there twice; give each of a picture an id of '
                f'its own, and its pixels that colour ({len(same):,} have one that another has)'
            )
        self.crowd = segments.flags('iscrowd')
        self.category_ids = np.array(list(known))[segments.refer('category_id', known)]
        if (without := np.flatnonzero(found == 0)).size:
            self.doubts.append(
                f'{len(without):,} of {len(images):,} images have no annotation and are left out; '
                f'the first is {images.name(without[0])}'
            )


def _are_numbers(lists: list[list]) -> list[bool]:
    return [set(map(type, v)) <= {int} and all(abs(i) <= LARGEST for i in v) for v in lists]


def _are_objects(lists: list[list]) -> list[bool]:
    return [set(map(type, entries)) <= {dict} for entries in lists]


def _are_colors(ids: list[int]) -> np.ndarray:
    numbers = floats(ids)
    return (numbers >= 0) & (numbers < MOST_SEGMENTS)


def _are_boxes(values: list[list]) -> np.ndarray:
    if set(map(len, values)) - {4}:
        raise ValueError  # for each to be looked at by itself
    boxes = floats(chain.from_iterable(values), {int, float}).reshape(-1, 4)
    return np.abs(boxes).sum(axis=1) <= FARTHEST  # NaN is not
