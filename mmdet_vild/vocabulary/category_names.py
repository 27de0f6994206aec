"""Which category a word denotes, and which ones are a kind of it or it of them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache

from .names import readable_name
from .plurals import other_numbers, plurals

#: What follows them says more about a thing, and not what it is: 'cup of coffee'.
_PREPOSITIONS = re.compile(r' (?:of|with|without|in|on) ')
#: LVIS says so which of two meanings a name has: 'bow_(weapon)'.
_QUALIFIER = re.compile(r' \([^()]*\)$')
#: Words of which what is found out is kept.
_KEPT = 2**15


class CategoryNames:
    """The names of categories, to look words up in.

    A word denotes the category that has it as its name; or else as a synonym; or else that has
    another number of it, 'knife' for 'knives', as name or synonym. Case, underscores and hyphens do
    not matter, nor does what is added in brackets, as in 'bus_(vehicle)', if only one of the two
    has such an addition. What fits several categories equally well denotes none.

    Args:
        names: Of each category, its name and then its synonyms.
        novel: Of each, whether it is novel.
    """

    def __init__(self, names: Iterable[Sequence[str]], novel: Iterable[bool]) -> None:
        self._novel = list(novel)
        self._found: dict[str, frozenset[int]] = {}
        self._names, self._synonyms, self._ends = (defaultdict(set) for _ in range(3))
        for row, (name, *synonyms) in enumerate(names):
            for index, texts in ((self._names, [name]), (self._synonyms, synonyms)):
                for text in texts:
                    full, plain, bare = _spellings(text)
                    for key in (full, plain, f'{bare} ()'):
                        index[key].add(row)
                    for end in _ends(text):
                        self._ends[end].add(row)

    def rows(self, word: str) -> frozenset[int]:
        """The categories that a word fits best: one, which it denotes, or several, or none."""
        if word not in self._found:
            if len(self._found) == _KEPT:
                self._found.clear()
            self._found[word] = self._called([word]) or self._called(self._other_numbers(word))
        return self._found[word]

    def denoted(self, word: str) -> int | None:
        """The category that a word denotes, if any."""
        rows = self.rows(word)
        return next(iter(rows)) if len(rows) == 1 else None

    def related(self, word: str) -> set[int]:
        """The categories that a word fits, those that it is a kind of, and its kinds.

        A 'striped mug of tin' is a kind of 'mug', by the last word before a preposition.
        """
        found, ends = [self.rows(word)], _ends(word)
        for end in ends:
            others = self._other_numbers(end)
            found += [self._called([end]), self._called(others)]
            if end is ends[0]:
                found += [self._ends.get(each, ()) for each in (end, *others)]
        return set().union(*found)

    def is_novel(self, names: Sequence[str]) -> bool:
        """Whether a word is novel, by the category that its own name, the first, denotes.

        If that denotes none, the word is novel unless one of its names fits base categories alone.
        """
        row = self.denoted(names[0])
        if row is not None:
            return self._novel[row]
        fits = map(self.rows, names)
        return not any(rows and not any(self._novel[row] for row in rows) for rows in fits)

    def _called(self, words: Sequence[str]) -> frozenset[int]:
        """The categories that have one of some words as their name, or else as a synonym."""
        spellings = list(map(_spellings, words))
        # Brackets are looked for where there are none, and left out where there are some.
        keys = [(f, p, b if b != p else f'{b} ()') for f, p, b in spellings]
        for index in (self._names, self._synonyms):
            for way in zip(*keys, strict=True):
                rows = frozenset().union(*(index.get(key, ()) for key in way))
                if rows:
                    return rows
        return frozenset()

    def _other_numbers(self, word: str) -> list[str]:
        """A word in the other number, where that is what a category is, as its last word says."""
        _, plain, bare = _spellings(word)
        thing = _PREPOSITIONS.split(bare)[0]
        start, blank, noun = thing.rpartition(' ')
        if not noun.isalpha():
            return []
        forms = self._ends.keys() & other_numbers(noun).union(self._singulars.get(noun, ()))
        return [start + blank + form + plain[len(thing) :] for form in forms]

    @cached_property
    def _singulars(self) -> dict[str, set[str]]:
        """Nouns of the categories by their plurals; inflect does not find all of them back."""
        found = defaultdict(set)
        for noun in filter(str.isalpha, self._ends):
            for plural in plurals(noun):
                found[plural].add(noun)
        return found


@lru_cache(_KEPT)
def _spellings(name: str) -> tuple[str, str, str]:
    """As it is read, without hyphens, and also without brackets."""
    full = readable_name(name)
    plain = full.replace('-', ' ')
    return full, plain, _QUALIFIER.sub('', plain)


def _ends(name: str) -> list[str]:
    """What something is, without more and more of its first words, from 'striped mug' to 'mug'."""
    words = _PREPOSITIONS.split(_spellings(name)[2])[0].split()
    return [' '.join(words[start:]) for start in range(len(words))]
