"""What words that are asked for have to do with those of a detector's vocabulary."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .learned_names import LearnedNames
from .prompts import readable_name
from .text_embeddings import TextEmbeddings
from .word_checks import bare_name

#: 'mugs' and 'mug', 'boxes' and 'box', 'horses' and 'horse' are alike without it.
_ENDING = re.compile(r'es$|(?<![su])s$|e$')
#: What follows them says more about a thing, and not what it is: 'cup of coffee'.
_PREPOSITIONS = re.compile(r' (?:of|with|without|in|on) ')


class KnownWords:
    """A detector's vocabulary, to compare words with.

    Names are compared without case, underscores, and what LVIS adds in brackets, as long as only
    one category has the name then.

    Args:
        vocabulary: The C categories.
    """

    def __init__(self, vocabulary: TextEmbeddings) -> None:
        self.vocabulary = vocabulary
        self._synonyms = _synonyms(vocabulary)
        names = [
            (name, *synonyms)
            for name, synonyms in zip(vocabulary.names, self._synonyms, strict=True)
        ]
        self._learned = LearnedNames(names, vocabulary.novel)
        self._keys = [set(map(bare_name, each)) for each in names]
        self._things = [set(map(_thing, keys)) for keys in self._keys]
        self._ends = [set().union(*map(_ends, things)) for things in self._things]
        self._rows = {}
        counts = Counter(map(bare_name, vocabulary.names))
        for row, name in reversed([*enumerate(vocabulary.names)]):
            if counts[bare_name(name)] == 1:
                self._rows[bare_name(name)] = row
        for row, name in reversed([*enumerate(vocabulary.names)]):
            self._rows[readable_name(name)] = row

    def find(self, name: str, synonyms: Sequence[str]) -> tuple[int | None, tuple[str, ...]]:
        """The category that a word is, and its synonyms.

        Args:
            name: The word.
            synonyms: The same and other names of it.

        Returns:
            The category's row and all its synonyms, if the word has its name, and no synonyms or
            just these; otherwise None, and the synonyms as they are.
        """
        for key in (readable_name(name), bare_name(name)):
            row = self._rows.get(key)
            if row is not None and tuple(synonyms) in ((name,), self._synonyms[row]):
                return row, self._synonyms[row]
        return None, tuple(synonyms)

    def is_novel(self, synonyms: Sequence[str]) -> bool:
        """Whether the detector has learned a word under none of its names; the first is its own.

        See :meth:`mmdet_vild.vocabulary.LearnedNames.have`.
        """
        return not self._learned.have(synonyms)

    def add_rivals(self, text: TextEmbeddings) -> TextEmbeddings:
        """Words, and after them the categories that mean something else.

        A word that is a category is that one alone. For any other those do not compete that share
        a name with it, those that it is a kind of, as a 'striped mug' is a 'mug', and those that
        are a kind of it, as a 'red mug' is for 'mug' or 'mugs'.
        """
        asked, same, kinds, ends = set(), set(), set(), set()
        for name, synonyms in zip(text.names, _synonyms(text), strict=True):
            row, _ = self.find(name, synonyms)
            if row is not None:
                asked.add(row)
                continue
            same |= set(map(bare_name, (name, *synonyms)))
            for thing in map(_thing, (name, *synonyms)):
                kinds.add(thing)
                ends |= _ends(thing)
        rows = [
            row
            for row, keys in enumerate(self._keys)
            if row not in asked
            and not keys & same
            and not self._things[row] & ends
            and not self._ends[row] & kinds
        ]
        own = self.vocabulary
        return replace(
            text,
            embeddings=np.vstack([text.embeddings, own.embeddings[rows]]),
            names=(*text.names, *(own.names[row] for row in rows)),
            novel=np.concatenate([text.novel, own.novel[rows]]),
            synonyms=(*_synonyms(text), *(self._synonyms[row] for row in rows)),
        )


def _synonyms(text: TextEmbeddings) -> tuple[tuple[str, ...], ...]:
    return text.synonyms or tuple((name,) for name in text.names)


def _thing(name: str) -> str:
    """What something is, in one or many: 'striped mug' for 'Striped mugs of tin'."""
    return _ENDING.sub('', _PREPOSITIONS.split(bare_name(name))[0])


def _ends(thing: str) -> set[str]:
    words = thing.split()
    return {' '.join(words[start:]) for start in range(len(words))}
