"""The images, categories and annotations of a file, and how a wrong field of one is refused."""

import os
import os.path as osp
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from itertools import chain
from operator import itemgetter

import numpy as np

#: Larger than any number of an annotation file, and exact as a float.
LARGEST = 10**12
#: Than any id, which may be made of the time or at random; an int64.
LARGEST_ID = 10**18
#: What mmdet cuts off the path of an image.
SERVER = 'http://images.cocodataset.org/'


class Entries(list):
    """Images, categories or annotations of a file, looked at by columns, which is quick.

    Raises:
        ValueError: They are no list of objects; and so do the methods, where a field is wrong.
    """

    def __init__(self, content: dict, key: str, file: str) -> None:
        near = [] if key in content else get_close_matches(key, content, 1, 0.8)
        if near or (key not in content and key != 'annotations'):  # of images to be tested
            advice = f', but has {near[0]!r}; rename it' if near else ''
            raise ValueError(f'{file} lacks the field {key!r}{advice}')
        entries = content.get(key, [])
        if not isinstance(entries, list) or not set(map(type, entries)) <= {dict}:
            raise ValueError(f'{file} has the {key} {shown(entries)}; expected a list of objects')
        super().__init__(entries)
        self.key, self.file = key, file

    def only(self, rows: np.ndarray) -> 'Entries':
        """Those of some rows."""
        if len(rows) == len(self):
            return self
        return Entries({self.key: [self[row] for row in rows.tolist()]}, self.key, self.file)

    def name(self, row: int) -> str:
        """What to call one."""
        kind = {'categories': 'category'}.get(self.key, self.key[:-1])
        return f'{kind} {shown(self[row].get("id", f"number {row}"))} of {self.file}'

    def check(
        self,
        key: str,
        types: set[type],
        expected: str,
        sound: Callable[[list], Sequence] | None = None,
        default: object = None,
    ) -> list:
        """The values of a field, checked.

        Args:
            key: The field.
            types: What a value may be.
            expected: What it must be, in words.
            sound: Takes all values and says which are right. Where it raises an error, it is asked
                about one at a time.
            default: The value where there is none; None if there must be one.
        """
        try:
            if default is None:
                values = list(map(itemgetter(key), self))
            else:
                values = [entry.get(key, default) for entry in self]
        except KeyError:
            row = next(row for row, entry in enumerate(self) if key not in entry)
            raise ValueError(f'{self.name(row)} lacks the field {key!r}') from None
        if not set(map(type, values)) <= types:
            right = [type(value) in types for value in values]
        elif sound:
            right = _right(values, sound)
        else:
            return values
        if (wrong := np.flatnonzero(~np.asarray(right, bool))).size:
            raise ValueError(
                f'{self.name(wrong[0])} has the {key} {shown(values[wrong[0]])}; expected '
                f'{expected}. Correct the file, where {len(wrong):,} of {len(self):,} are wrong'
            )
        return values

    def numbers(
        self, key: str, expected: str, above: float = -LARGEST, most: float = LARGEST
    ) -> np.ndarray:
        """A field of numbers of a range, (n,)."""
        return floats(self.check(key, {int, float}, expected, _within(above, most)))

    def flags(self, key: str, default: int | None = 0) -> np.ndarray:
        """A field that is 0, 1 or, unless the default is None, left out, (n,) bool."""

        def sound(values: list) -> np.ndarray:
            return np.isin(floats(values), (0, 1))

        return np.array(self.check(key, {int, float, bool}, '0 or 1', sound, default), bool)

    def paths(self, key: str, folder: str) -> list[str]:
        """A field of paths of files in a folder, or anywhere if that is ''."""
        what = 'the path of a file' + (f' in {folder}' if folder else '')
        return self.check(key, {str}, what, lambda values: [is_path(p, folder) for p in values])

    def ids(self) -> dict:
        """Where each id is."""
        if self.key == 'categories':
            ids = self.check('id', {int}, 'a whole number of 18 digits at most', _within_ids)
        else:
            ids = self._ids('id', self[0].get('id') if self else 0)
        rows = dict(zip(ids, range(len(ids)), strict=True))
        if len(rows) < len(ids):
            repeated, count = Counter(ids).most_common(1)[0]
            same = [entry for entry in self if entry['id'] == repeated]
            names = [e.get('file_name') or e.get('coco_url') or e.get('name') for e in same]
            named = f', {shown(names)}' if any(names) else ''
            raise ValueError(
                f'{self.file} has {count} {self.key} of the id {shown(repeated)}{named}; give each '
                f'an id of its own ({len(ids) - len(rows):,} have one that is there already, as '
                'when two files are merged that both count from 1)'
            )
        return rows

    def refer(self, key: str, known: dict) -> np.ndarray:
        """What ``known`` has for the ids in a field, (n,) whole numbers."""
        values = self._ids(key, next(iter(known), 0))
        found = list(map(known.get, values))
        if None in found:
            expected = 'one of the ids that are in the file'
            self.check(key, {str, int, float}, expected, lambda v: [i in known for i in v])
        return np.array(found, np.int64)

    def _ids(self, key: str, like: object) -> list:
        """A field of ids: texts or numbers, as another one."""
        if isinstance(like, str):
            return self.check(key, {str}, 'a text, as the other ids')
        what = 'a number of 18 digits at most, as the other ids'
        return self.check(key, {int, float}, what, _within_ids)


class Segments(Entries):
    """The segments of all annotations of a panoptic file; ``owner`` says (n,) of which each is."""

    def __init__(self, segments: Sequence[list[dict]], img_ids: Sequence, file: str) -> None:
        super().__init__({'segments': list(chain.from_iterable(segments))}, 'segments', file)
        self.owner = np.repeat(np.arange(len(segments)), [len(some) for some in segments])
        self._img_ids = img_ids

    def name(self, row: int) -> str:
        """What to call one."""
        segment, image = self[row].get('id'), self._img_ids[self.owner[row]]
        return f'segment {shown(segment)} of image {shown(image)} of {self.file}'


def floats(values: Iterable, types: set[type] | None = None) -> np.ndarray:
    """Numbers, (n,) float64; a TypeError or an OverflowError if one is something else."""
    values = list(values)  # of an iterator it takes twice as long
    if types and not set(map(type, values)) <= types:
        raise TypeError
    return np.frombuffer(array('d', values))


def is_path(value: str, folder: str) -> bool:
    """Whether a text can be the path of a file in a folder, or anywhere if that is ''."""
    value = value.replace(SERVER, '')
    try:
        return '\0' not in value and bool(os.fsencode(value)) and not (folder and '://' in value)
    except UnicodeEncodeError:
        return False


def normal_path(value: str, folder: str) -> str:
    """The file that the path of an image in a folder leads to, spelled in one way."""
    return osp.normpath(osp.join(folder, value.replace(SERVER, '')))


def shown(value: object) -> str:
    """A value in an error."""
    text = ascii(value)
    return text if len(text) <= 100 else f'{text[:100]}...'


def _within(above: float, most: float) -> Callable[[list], np.ndarray]:
    def sound(values: list) -> np.ndarray:
        numbers = floats(values)
        return (numbers > above) & (numbers <= most)  # NaN is not

    return sound


def _within_ids(values: list) -> np.ndarray:
    return _within(-LARGEST_ID, LARGEST_ID)(values)


def _right(values: list, sound: Callable[[list], Sequence]) -> Sequence:
    try:
        return sound(values)
    except (OverflowError, TypeError, ValueError):
        return [_right([value], sound)[0] for value in values] if len(values) > 1 else [False]
