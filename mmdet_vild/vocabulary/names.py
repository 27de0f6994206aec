"""What a word may be, and when two are the same."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

#: Control characters, but for blanks and ends of lines, and half characters, as JSON can have them.
_UNWRITABLE = re.compile('[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]')


def readable_name(name: str) -> str:
    """``'tow truck'`` for ``'Tow_truck'``. Two names that become the same are the same word."""
    name = unicodedata.normalize('NFC', name)  # an accent and its letter are one character
    return ' '.join(name.replace('_', ' ').replace('/', ' or ').lower().split())


def check_word(synonyms: Sequence[str], where: str) -> None:
    """Refuse a word that shows nothing, or that has a character that is none.

    Args:
        synonyms: All that it is called.
        where: What to call it in errors, such as ``'category 3 of train.json'``.

    Raises:
        ValueError: A synonym is empty, blank or invisible, or has a control character.
    """
    for synonym in synonyms:
        if _UNWRITABLE.search(synonym):
            raise ValueError(f'{where} has {synonym!r} with a control character; remove it')
        if not any(c.isprintable() and not c.isspace() for c in readable_name(synonym)):
            raise ValueError(
                f'{where} is empty, or has an empty synonym: {synonyms!r}; remove what is empty, '
                'such as a dot or a slash too many'
            )


def repeated_names(names: Iterable[str]) -> list[str]:
    """Those of which another is the same to :func:`readable_name`, sorted."""
    spellings = defaultdict(list)
    for name in names:
        spellings[readable_name(name)].append(name)
    return sorted({name for same in spellings.values() if len(same) > 1 for name in same})
