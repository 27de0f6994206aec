"""What a word may be, and when two are the same."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

#: What shows nothing: Unicode's default ignorable code points, but for joiners.
_INVISIBLE = re.compile(
    '[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e'
    '\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]'
)
#: Joiners show nothing either, but between letters of scripts or emoji that have use for them.
_JOINERS = re.compile('(?<![^\0-\u036f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\0-\u036f])')
#: Dashes, apostrophes and quotation marks that word processors and web pages have.
_TYPED = str.maketrans(
    dict.fromkeys('\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58', '-')
    | dict.fromkeys('\xb4\u02b9\u02bc\u2018\u2019\u201a\u201b\u2032', "'")
    | dict.fromkeys('\xab\xbb\u201c\u201d\u201e\u201f\u2033', '"')
)
#: A name in quotation marks.
_QUOTED = re.compile(r"""(["'])((?:(?!\1).)+)\1""")
#: Control characters, but for blanks and ends of lines, and half characters, as JSON can have them.
_UNWRITABLE = re.compile('[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff]')


def readable_name(name: str) -> str:
    """``'tow truck'`` for ``'Tow_truck'``. Two names that become the same are the same word.

    Characters are those of a plain keyboard where Unicode has others for the same: wide letters and
    ligatures, dashes, apostrophes. What cannot be seen is left out, and so are quotation marks
    around a name, and exclamation and question marks at its ends.
    """
    name = unicodedata.normalize('NFKC', _INVISIBLE.sub('', name).translate(_TYPED))
    name = _JOINERS.sub('', name.translate(_TYPED))  # also what has become a dash or an apostrophe
    name = unicodedata.normalize('NFC', name)  # an accent and its letter are one character
    name = ' '.join(name.replace('_', ' ').replace('/', ' or ').lower().split())
    return _bare(name)


def _bare(name: str) -> str:
    bare = name.strip('!?\xa1\xbf ')
    if quoted := _QUOTED.fullmatch(bare):
        bare = quoted[2].strip()
    return name if bare in ('', name) else _bare(bare)


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
