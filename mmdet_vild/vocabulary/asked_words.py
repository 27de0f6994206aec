"""The words that a user asks for, written as mmdet's inferencer and demos have them."""

import re
from collections.abc import Sequence

from .prompts import readable_name

#: Between words: a dot of its own, as in mmdet's GLIP and Grounding DINO.
_BETWEEN_WORDS = re.compile(r'\s\.(?=\s)')
#: Between synonyms of a word: a slash of its own. 'cutting/chopping board' is one synonym.
_BETWEEN_SYNONYMS = re.compile(r'\s/(?=\s)')


def parse_words(text: str | Sequence[str]) -> list[dict]:
    """Read ``'toy elephant . sofa / couch . cat'``: three words, the second with a synonym.

    Args:
        text: Words with `` . `` between them, or a sequence of words. `` / `` is between the
            synonyms of a word, whose first is its name.

    Returns:
        A dict a word, in order, as :func:`load_categories` returns them.

    Raises:
        TypeError: It is neither a text nor a sequence of texts.
        ValueError: There is no word, a word or a synonym is empty, or two words are the same to
            the teacher, which reads neither case nor underscores.
    """
    if isinstance(text, str):
        # mmdet leaves out dots and blanks at both ends, too.
        words = _BETWEEN_WORDS.split(text.strip(' \t\r\n.'))
        words = [] if words == [''] else words
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
        if not all(map(_is_visible, synonyms)):
            raise ValueError(
                f'word {position + 1} of {len(words)} is empty, or has an empty synonym: {word!r}; '
                'write "cat . sofa / couch", with one dot between words and one slash between '
                'synonyms'
            )
        key = readable_name(synonyms[0])
        if key in positions:
            raise ValueError(
                f'words {positions[key] + 1} and {position + 1} of {len(words)} are the same: '
                f'{synonyms[0]!r}; name each once'
            )
        positions[key] = position
        categories.append(
            {'id': position + 1, 'name': synonyms[0], 'synonyms': synonyms, 'frequency': None}
        )
    return categories


def split_synonyms(word: str) -> list[str]:
    """``'sofa / couch'`` to ``['sofa', 'couch']``, with single blanks."""
    return [' '.join(synonym.split()) for synonym in _BETWEEN_SYNONYMS.split(f' {word} ')]


def _is_visible(text: str) -> bool:
    return any(character.isprintable() and not character.isspace() for character in text)
