"""Which words a detector has learned, by the categories that it was trained on."""

from collections.abc import Iterable, Sequence

from .prompts import readable_name
from .word_checks import bare_name


class LearnedNames:
    """The names of base categories, to compare words with.

    Args:
        categories: Of each category, its name and then its synonyms.
        novel: For each, whether it is novel.
    """

    def __init__(self, categories: Iterable[Sequence[str]], novel: Iterable[bool]) -> None:
        base, self._novel = [], []
        for names, is_novel in zip(categories, novel, strict=True):
            (self._novel if is_novel else base).append(names)
        self._novel = {readable_name(names[0]) for names in self._novel}
        self._base = {readable_name(name) for names in base for name in names} - self._novel
        bare = {bare_name(name) for names in base for name in names}
        self._bare = bare - set(map(bare_name, self._novel))

    def have(self, names: Sequence[str]) -> bool:
        """Whether the detector has learned a word under one of its names.

        It has where one is the name or a synonym of a base category and not the name of a novel
        one, with LVIS's addition in brackets or without; and never where the word's own name, the
        first, is that of a novel category.
        """
        if readable_name(names[0]) in self._novel:
            return False
        return not (
            self._base.isdisjoint(map(readable_name, names))
            and self._bare.isdisjoint(map(bare_name, names))
        )
