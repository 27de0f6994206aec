"""The words that a user asks for, written as mmdet's inferencer and demos have them."""

import re
from collections.abc import Mapping, Sequence

from .examples import read_examples
from .names import check_word, readable_name

#: What stands between words as a dot does: those of other scripts, bars and bullets. And commas.
DOTS, COMMAS = '。．｡।۔|｜•', ',;،؛，；、'
#: Between words of a line: a dot of its own. In mmdet's GLIP and Grounding DINO it is '. '.
_BETWEEN_WORDS = re.compile(rf'\s[.{DOTS}](?=\s)')
#: Between synonyms of a word: a slash of its own. 'cutting/chopping board' is one synonym.
_BETWEEN_SYNONYMS = re.compile(r'\s/(?=\s)')
#: What may stand between words or in one: commas and the like, and a dot at the end of something.
_PERHAPS_BETWEEN = re.compile(rf'[{COMMAS}{DOTS}]|\.\s|\s\.')


def parse_words(text: str | Sequence[str | dict]) -> list[dict]:
    """Read ``'toy elephant . sofa / couch . cat'``: three words, the second with a synonym.

    Args:
        text: Words with `` . ``, tabs or ends of lines between them; empty lines, and dots and
            blanks at the ends of lines, are left out. Bars, bullets and the dots of other scripts
            are such dots. Or a sequence of words, in which all these are part of the word. `` / ``
            is between the synonyms of a word, whose first is its name. In a sequence,
            ``dict(name='my mug', examples=['mug.png'])`` has pictures in place of a word; see
            :func:`read_examples`.

    Returns:
        A dict a word, in order, as :func:`load_categories` returns them.

    Raises:
        TypeError: It is neither a text nor a sequence of texts and such dicts.
        FileNotFoundError: There is no such picture.
        ValueError: There is no word, one shows nothing or is malformed, or two are the same, as
            :func:`readable_name` reads them, by name or by a synonym. Or a word of a text may be
            several: it has a comma, a semicolon, a bar, or a dot beside a blank, as in
            ``'cat. dog'``.
    """
    if isinstance(text, str):
        words = _split_words(text)
    elif isinstance(text, Sequence) and all(map(_is_word, text)):
        words = list(text)
    else:
        raise TypeError(
            'words are a text such as "cat . toy elephant" or a list of texts, found '
            f'{text!r}; in a list, dict(name="my mug", examples=["mug.png"]) has pictures in place '
            'of a word'
        )
    if not words:
        raise ValueError(f'there is no word in {text!r}; name at least one, or leave out texts')
    categories, numbers = [], {}
    for number, word in enumerate(words, 1):
        where = f'word {number} of {len(words)}'
        synonyms = split_synonyms(word) if isinstance(word, str) else [word['name']]
        check_word(synonyms, where)
        for synonym in synonyms:
            first = numbers.setdefault(readable_name(synonym), number)
            if first != number:
                raise ValueError(
                    f'words {first} and {number} of {len(words)} are the same: {synonym!r}; name '
                    'each once, and give no two the same synonym'
                )
        category = dict(id=number, name=synonyms[0], synonyms=synonyms, frequency=None)
        if not isinstance(word, str):
            category |= read_examples(word, where)
        categories.append(category)
    return categories


def _is_word(word: object) -> bool:
    if isinstance(word, Mapping):
        return set(word) == {'name', 'examples'} and isinstance(word['name'], str)
    return isinstance(word, str)


def split_synonyms(word: str) -> list[str]:
    """``'sofa / couch'`` to ``['sofa', 'couch']``, with single blanks."""
    return [' '.join(synonym.split()) for synonym in _BETWEEN_SYNONYMS.split(f' {word} ')]


def _split_words(text: str) -> list[str]:
    lines = [part for line in text.splitlines() for part in line.split('\t')]
    lines = [' '.join(line.split()).strip(f' .{DOTS}') for line in lines]
    words = [word.strip() for line in lines if line for word in _BETWEEN_WORDS.split(line)]
    for word in words:
        if _PERHAPS_BETWEEN.search(word):
            raise ValueError(
                f'{word!r} may be one word or several: write "cat . dog" for several, or a list '
                f'such as [[{word!r}]] where it is one'
            )
    return words
