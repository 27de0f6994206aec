"""The words that a user asks for, written as mmdet's inferencer and demos have them."""

import re
from collections.abc import Sequence

from .prompts import readable_name
from .word_checks import check_word

#: Between words of a line: a dot of its own. In mmdet's GLIP and Grounding DINO it is '. '.
_BETWEEN_WORDS = re.compile(r'\s\.(?=\s)')
#: Between synonyms of a word: a slash of its own. 'cutting/chopping board' is one synonym.
_BETWEEN_SYNONYMS = re.compile(r'\s/(?=\s)')
#: What may stand between words or in one: commas, semicolons, and a dot at the end of something.
_PERHAPS_BETWEEN = re.compile(r'[,;،؛，；、]|\.\s|\s\.')


def parse_words(text: str | Sequence[str]) -> list[dict]:
    """Read ``'toy elephant . sofa / couch . cat'``: three words, the second with a synonym.

    Args:
        text: Words with `` . `` or ends of lines between them; empty lines, and dots and blanks at
            the ends of lines, are left out. Or a sequence of words, in which such dots are part of
            the word. `` / `` is between the synonyms of a word, whose first is its name.

    Returns:
        A dict a word, in order, as :func:`load_categories` returns them.

    Raises:
        TypeError: It is neither a text nor a sequence of texts.
        ValueError: There is no word, a word or a synonym shows nothing or holds what no file can,
            or two words are the same to the teacher, which reads neither case nor underscores. Or
            a word of a text may be several: it has a comma, a semicolon, or a dot on one side of
            which is a blank, as in ``'cat. dog'``. In a sequence it is one.
    """
    if isinstance(text, str):
        words = _split_words(text)
    elif isinstance(text, Sequence) and all(isinstance(word, str) for word in text):
        words = list(text)
    else:
        raise TypeError(
            f'words are a text such as "cat . toy elephant" or a list of texts, found {text!r}'
        )
    if not words:
        raise ValueError(f'there is no word in {text!r}; name at least one, or leave out texts')
    categories, positions = [], {}
    for position, word in enumerate(words):
        synonyms = split_synonyms(word)
        check_word(synonyms, f'word {position + 1} of {len(words)}')
        key = readable_name(synonyms[0])
        if key in positions:
            raise ValueError(
                f'words {positions[key] + 1} and {position + 1} of {len(words)} are the same: '
                f'{synonyms[0]!r}; name each once'
            )
        positions[key] = position
        word = dict(id=position + 1, name=synonyms[0], synonyms=synonyms, frequency=None)
        categories.append(word)
    return categories


def split_synonyms(word: str) -> list[str]:
    """``'sofa / couch'`` to ``['sofa', 'couch']``, with single blanks."""
    return [' '.join(synonym.split()) for synonym in _BETWEEN_SYNONYMS.split(f' {word} ')]


def _split_words(text: str) -> list[str]:
    lines = [' '.join(line.split()).strip(' .') for line in text.splitlines()]
    words = [word.strip() for line in lines if line for word in _BETWEEN_WORDS.split(line)]
    for word in words:
        if _PERHAPS_BETWEEN.search(word):
            raise ValueError(
                f'{word!r} may be one word or several: write "cat . dog" for several, or a list '
                f'such as [[{word!r}]] where it is one'
            )
    return words
