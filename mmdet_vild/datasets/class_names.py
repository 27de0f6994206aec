"""The names of a dataset's classes, and which of them are novel."""

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches

from mmdet_vild.vocabulary import check_word, repeated_names

#: What a key of ``metainfo`` may call novel and base classes, at the beginning of a word.
_NOVEL, _BASE = (re.compile(f'(?<![a-z])({words})') for words in ('novel|unseen|rare', 'base|seen'))


def check_class_names(names: Sequence, where: str, advice: str = '') -> None:
    """Raise a ValueError if a name shows nothing, or two are the same; it names the file."""
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f'{where} has a category of the name {name!r}; expected a text')
        check_word([name], f'the category {name!r} of {where}')
    if repeated := repeated_names(names):
        raise ValueError(f'{where} names these categories more than once: {repeated}{advice}')


def check_metainfo_keys(keys: Collection[str], known: Collection[str], where: str) -> None:
    """Raise a ValueError if a key of ``metainfo`` is a known one, misspelt; it names the file."""
    meant = {}
    for key in set(keys) - set(known):
        if near := get_close_matches(key.lower(), known, 1, 0.8):
            meant[key] = near[0]
        elif _NOVEL.search(key.lower()):
            meant[key] = 'novel_classes'
        elif _BASE.search(key.lower()):
            meant[key] = 'base_classes'
    if meant:
        raise ValueError(
            f'metainfo for {where} has {sorted(meant)}, which say nothing here; '
            f'write {sorted(set(meant.values()))}'
        )


def check_base(named: Sequence[str], base: Sequence[str], where: str) -> None:
    """Raise a ValueError if ``metainfo`` names other base classes than there are."""
    if named and sorted(named) != sorted(base):
        raise ValueError(
            f'metainfo for {where} names the base_classes {named}, but they are all '
            f'that are not novel: {base}; name novel_classes alone'
        )


def novel_of(novel: Sequence[str], classes: Sequence[str], where: str) -> tuple[str, ...]:
    """The novel classes that ``metainfo`` names, each once.

    Raises:
        ValueError: They are no list, or some are none of the classes; it names the file.
    """
    if not isinstance(novel, (list, tuple)):
        raise ValueError(
            f'novel_classes for {where} must be a list of names, found {novel!r}; '
            'write one name as novel_classes=("cat",)'
        )
    if unknown := [name for name in novel if name not in classes]:
        raise ValueError(
            f"these novel_classes of metainfo are none of {where}'s "
            f'{len(classes)} classes: {unknown}'
        )
    return tuple(dict.fromkeys(novel))
