"""What words that are asked for have to do with those of a detector's vocabulary."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .category_files import is_novel
from .category_names import CategoryNames
from .text_embeddings import TextEmbeddings


class KnownWords:
    """A detector's vocabulary, to compare words with; see :class:`CategoryNames`."""

    def __init__(self, vocabulary: TextEmbeddings) -> None:
        self.vocabulary = vocabulary
        self._synonyms = _synonyms(vocabulary)
        pairs = zip(vocabulary.names, self._synonyms, strict=True)
        names = ((name, *synonyms) for name, synonyms in pairs)
        self._names = CategoryNames(names, vocabulary.novel.tolist())

    def look_up(self, categories: Sequence[dict]) -> tuple[list, tuple, np.ndarray]:
        """What the vocabulary says of n words, as :func:`parse_words` returns them.

        Returns:
            For each the row of the category that it is, or None; a tuple of the synonyms to encode,
            which are those of the category if it is one; and (n,) bool, whether it is novel.

        Raises:
            ValueError: Two words are one category.
        """
        rows, all_synonyms, novel, seen = [], [], [], {}
        for category in categories:
            name, synonyms = category['name'], tuple(category['synonyms'])
            row = None if 'examples' in category else self.find(name, synonyms)
            if 'examples' in category:
                novel.append(is_novel(category))
            elif row is None:
                novel.append(self._names.is_novel((name, *synonyms)))
            else:
                synonyms = self._synonyms[row]
                novel.append(self.vocabulary.novel[row])
                if seen.setdefault(row, name) != name:
                    raise ValueError(
                        f'{seen[row]!r} and {name!r} are one category of the vocabulary, '
                        f'{self.vocabulary.names[row]!r}; leave one of them out, or give it a '
                        f'synonym that the category does not have, as in "{name} / ..."'
                    )
            rows.append(row)
            all_synonyms.append(synonyms)
        return rows, tuple(all_synonyms), np.array(novel, dtype=bool)

    def find(self, name: str, synonyms: Sequence[str]) -> int | None:
        """The row of the category that a word is, if any.

        It is the first that its name or else a synonym denotes, if all its synonyms denote that one
        or are just those of that category.
        """
        denoted = self._names.denoted
        row = next((r for r in map(denoted, (name, *synonyms)) if r is not None), None)
        if row is None or tuple(synonyms) in ((name,), self._synonyms[row]):
            return row
        return row if all(denoted(each) == row for each in synonyms) else None

    def add_rivals(self, text: TextEmbeddings, with_related: bool = True) -> TextEmbeddings:
        """Words, and after them the categories that compete with them.

        All do but the ones that the words denote, by whichever of their names. Of a name that
        denotes none, its :meth:`CategoryNames.related` categories do not compete either; without
        ``with_related`` none does that is related to a word.
        """
        apart = set()
        for name, synonyms in zip(text.names, _synonyms(text), strict=True):
            whole, names = self.find(name, synonyms), {name, *synonyms}
            if not with_related:
                apart.update(*map(self._names.related, names))
            elif whole is None:
                for each in names:
                    row = self._names.denoted(each)
                    apart |= self._names.related(each) if row is None else {row}
            apart.add(whole)
        own = self.vocabulary
        rows = [row for row in range(len(own.names)) if row not in apart]
        each = None
        if text.synonym_embeddings is not None and own.synonym_embeddings is not None:
            of_rivals = (own.rows(row)[1:] for row in rows)
            each = np.concatenate([text.synonym_embeddings, *of_rivals])
        return replace(
            text,
            embeddings=np.vstack([text.embeddings, own.embeddings[rows]]),
            names=(*text.names, *(own.names[row] for row in rows)),
            novel=np.concatenate([text.novel, own.novel[rows]]),
            synonyms=(*_synonyms(text), *(self._synonyms[row] for row in rows)),
            synonym_embeddings=each,
        )


def _synonyms(text: TextEmbeddings) -> tuple[tuple[str, ...], ...]:
    return text.synonyms or tuple((name,) for name in text.names)
