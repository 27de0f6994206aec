"""The images, categories and annotations of a file, and how a wrong field of one is refused."""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

#: Larger than any number of an annotation file, and exact as a float.
LARGEST = 10**12


class Entries(list):
    """Images, categories or annotations of a file, looked at by columns, which is quick.

    Args:
        content: Of the file.
        key: Where they are in it.
        file: Its path, for errors.

    Raises:
        ValueError: It is no list of objects; and so do the methods, where a field is wrong.
    """

    def __init__(self, content: dict, key: str, file: str) -> None:
        if key not in content and key != 'annotations':  # of images to be tested
            raise ValueError(f'{file} lacks the field {key!r}')
        entries = content.get(key, [])
        if not isinstance(entries, list) or not set(map(type, entries)) <= {dict}:
            raise ValueError(f'{file} has the {key} {shown(entries)}; expected a list of objects')
        super().__init__(entries)
        self.key, self.file = key, file

    def only(self, rows: np.ndarray) -> 'Entries':
        """Those of some rows."""
        return Entries({self.key: [self[i] for i in rows.tolist()]}, self.key, self.file)

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
        optional: bool = False,
    ) -> list:
        """Values of a field, of some types, for which a function is true.

        Args:
            key: The field.
            types: What it may be.
            expected: That in words.
            sound: Takes all values, which are of these types, and returns which are right.
            optional: Whether an entry may do without it.
        """
        entries = [entry for entry in self if key in entry] if optional else self
        try:
            values = [entry[key] for entry in entries]
        except KeyError:
            row = next(row for row, entry in enumerate(self) if key not in entry)
            raise ValueError(f'{self.name(row)} lacks the field {key!r}') from None
        if not set(map(type, values)) <= types:
            sound = _of_types(types)
        if sound and (wrong := np.flatnonzero(~np.asarray(sound(values), bool))).size:
            row = next(row for row, entry in enumerate(self) if entry is entries[wrong[0]])
            raise ValueError(
                f'{self.name(row)} has the {key} {shown(self[row][key])}; expected {expected}. '
                f'Correct the file, where {len(wrong):,} of {len(self):,} are wrong'
            )
        return values

    def numbers(
        self, key: str, expected: str, above: float = -LARGEST, most: float = LARGEST
    ) -> np.ndarray:
        """A field of numbers of a range, (n,)."""

        def sound(values: list) -> Sequence:
            if max(map(abs, values), default=0) > LARGEST:
                return [abs(value) <= LARGEST for value in values]
            return (floats(values) > above) & (floats(values) <= most)  # NaN is not

        return floats(self.check(key, {int, float}, expected, sound))

    def flags(self, key: str) -> np.ndarray:
        """A field that is 0, 1 or left out, (n,) bool."""
        types = {int, float, bool}
        self.check(key, types, '0 or 1', lambda v: np.isin(floats(v), (0, 1)), optional=True)
        return np.array([entry.get(key, 0) for entry in self], bool)

    def ids(self) -> dict:
        """Where each id is."""
        if self.key == 'categories':
            self.check('id', {int}, 'a whole number')
        else:
            self._check_ids('id', self[0].get('id') if self else 0)
        rows = {entry['id']: row for row, entry in enumerate(self)}
        if len(rows) < len(self):
            repeated, count = Counter(entry['id'] for entry in self).most_common(1)[0]
            same = [entry for entry in self if entry['id'] == repeated]
            names = [e.get('file_name') or e.get('coco_url') or e.get('name') for e in same]
            named = f', {shown(names)}' if any(names) else ''
            raise ValueError(
                f'{self.file} has {count} {self.key} of the id {shown(repeated)}{named}; give each '
                f'an id of its own ({len(self) - len(rows):,} have one that is there already, as '
                'when two files are merged that both count from 1)'
            )
        return rows

    def refer(self, key: str, known: dict, of_none: int | None = None) -> np.ndarray:
        """Rows, (n,), of the entries whose ids are in a field.

        Args:
            key: The field.
            known: Rows of all ids.
            of_none: An id that may lead nowhere; its row is -1.
        """
        self._check_ids(key, next(iter(known), 0))
        allowed = {*known, of_none}
        expected = f'one of the {len(known):,} ids that are in the file'
        values = self.check(key, {str, int, float}, expected, lambda v: [i in allowed for i in v])
        return np.array([known.get(value, -1) for value in values], np.int64)

    def _check_ids(self, key: str, like: object) -> None:
        if isinstance(like, str):
            self.check(key, {str}, 'a text, as the other ids')
        else:
            self.numbers(key, 'a number, as the other ids')


def floats(values: Iterable) -> np.ndarray:
    """Numbers, (n,) float64; a TypeError or an OverflowError if one is something else."""
    return np.frombuffer(array('d', values))


def is_path(value: str, folder: str) -> bool:
    """Whether a text can be the path of a file in a folder, or anywhere if that is ''."""
    value = value.replace('http://images.cocodataset.org/', '')  # which mmdet cuts off
    try:
        return '\0' not in value and bool(os.fsencode(value)) and not (folder and '://' in value)
    except UnicodeEncodeError:
        return False


def shown(value: object) -> str:
    """A value in an error."""
    text = ascii(value)
    return text if len(text) <= 100 else f'{text[:100]}...'


def _of_types(types: set[type]) -> Callable[[list], list[bool]]:
    return lambda values: [type(value) in types for value in values]
