"""What a word may be, and when two are the same."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from .prompts import readable_name

#: LVIS says so which of two meanings a name has: 'bow_(weapon)'.
_QUALIFIER = re.compile(r' \([^()]*\)$')
#: Control characters, but for blanks and ends of lines, and half characters, as JSON can have them.
_UNWRITABLE = re.compile('[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]')


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
        if not _is_visible(readable_name(synonym)):
            raise ValueError(
                f'{where} is empty, or has an empty synonym: {synonyms!r}; remove what is empty, '
                'such as a dot or a slash too many'
            )


def bare_name(name: str) -> str:
    """``'bow'`` for ``'bow_(weapon)'``, ``'bow tie'`` for ``'Bow-tie'``.

    As :func:`readable_name`, without hyphens and what LVIS adds in brackets.
    """
    return _QUALIFIER.sub('', readable_name(name).replace('-', ' '))


def repeated_names(names: Iterable[str]) -> list[str]:
    """Those that occur more than once, sorted; see :func:`readable_name` for which are the same."""
    spellings = defaultdict(list)
    for name in names:
        spellings[readable_name(name)].append(name)
    return sorted({name for same in spellings.values() if len(same) > 1 for name in same})


def _is_visible(text: str) -> bool:
    return any(character.isprintable() and not character.isspace() for character in text)
