"""Synonym sets of a vocabulary: WordNet's, those of a file, and which of them are left."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from .names import readable_name
from .plain_names import plain_name


class WordNet:
    """The nouns of WordNet's dict files, which several packages have: see ``docs/gkc.md``.

    Args:
        folder: With the files ``index.noun`` and ``data.noun``.

    Raises:
        FileNotFoundError: One is missing.
        ValueError: One is not of WordNet's format.
    """

    def __init__(self, folder: str | Path) -> None:
        paths = [Path(folder) / name for name in ('index.noun', 'data.noun')]
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(
                    f'there is no {path.name} of WordNet in {folder}; name the folder of its dict '
                    "files, such as /usr/share/wordnet of Debian's wordnet-base"
                )
        self._path, self._data = paths[1], paths[1].read_bytes()
        self._offsets: dict[str, list[int]] = {}
        for number, line in enumerate(paths[0].read_text('utf-8').splitlines(), 1):
            if line.startswith('  '):  # the licence
                continue
            try:
                fields = line.split()
                # lemma pos synset_cnt p_cnt [pointers] sense_cnt tagsense_cnt offset [offset ...]
                count = int(fields[2])
                self._offsets[fields[0]] = list(map(int, fields[-count:]))
            except (IndexError, ValueError) as error:
                raise ValueError(
                    f"line {number} of {paths[0]} is not of WordNet's index format ({error})"
                ) from error

    def lemmas(self, name: str, senses: int | None = None) -> list[str]:
        """All words of all noun synsets, or of the first ``senses``, of a name; with blanks."""
        key = readable_name(name).replace(' ', '_')
        found = []
        for offset in self._offsets.get(key, [])[:senses]:
            try:
                # offset lex_filenum ss_type w_cnt(hex) word lex_id [word lex_id ...] ...
                fields = self._data[offset : self._data.index(b'\n', offset)].decode().split()
                if int(fields[0]) != offset:
                    raise ValueError(f'it begins with {fields[0]}')
                found += fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            except (IndexError, UnicodeDecodeError, ValueError) as error:
                raise ValueError(
                    f'{self._path} has no synset at byte {offset}, where its index has {key!r} '
                    f'({error}); take both files from one release'
                ) from error
        return list(dict.fromkeys(word.replace('_', ' ') for word in found))


def read_synonyms(path: str | Path) -> dict[str, list[str]]:
    """A JSON of ``{category name: [synonyms]}``, which people may edit.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another form, or the set of a category is empty.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no file of synonyms at {path}')
    try:
        sets = json.loads(Path(path).read_text('utf-8-sig'))
    except ValueError as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error
    fits = isinstance(sets, dict) and all(
        isinstance(words, list) and all(isinstance(word, str) for word in words)
        for words in sets.values()
    )
    if not fits:
        raise ValueError(f'{path} must be {{"category name": ["synonym", ..], ..}}')
    if empty := sorted(name for name, words in sets.items() if not any(map(str.strip, words))):
        raise ValueError(
            f'{path} has no synonym of {empty[:5]}; leave these categories out, and they keep '
            'their names'
        )
    return sets


def diversified(
    categories: Sequence[dict],
    wordnet: WordNet | None = None,
    more: dict[str, list[str]] | None = None,
    senses: int | None = None,
    source: str = 'the synonyms',
) -> list[dict]:
    """Categories with synonym sets (GKC's text diversification).

    A set begins with the category's own name, the :func:`plain_name` of its first synonym, which of
    'painting, picture' is painting. A synonym that is the own name of
    another category is dropped: it would be right and wrong at once.

    Args:
        categories: As :func:`load_categories` returns them; their own synonyms are kept.
        wordnet: Adds the lemmas of the plain name's noun synsets; no hypernyms.
        more: Synonyms by category name or plain name, as :func:`read_synonyms` returns them. Those
            of a category that is in it are these alone.
        senses: Of WordNet, only so many first senses; default all, as the authors do.
        source: What to call ``more`` in errors.

    Raises:
        ValueError: ``more`` names a category that is not there, or twice, or one consists of
            pictures.
    """
    if shown := [category['name'] for category in categories if 'examples' in category]:
        raise ValueError(
            f'the categories {shown[:5]} have pictures ("examples"), which have no synonyms; '
            'diversify the others, and add these to the result'
        )
    given, more = more or {}, {}
    for name, words in given.items():
        if readable_name(name) in more:
            raise ValueError(
                f'{source} has the category {readable_name(name)!r} twice, written otherwise; put '
                'its synonyms together'
            )
        more[readable_name(name)] = words
    own = [readable_name(plain_name(category['synonyms'][0])) for category in categories]
    raw = [readable_name(category['name']) for category in categories]
    if unknown := sorted(more.keys() - {*own, *raw}):
        raise ValueError(
            f'{source} has synonyms of {len(unknown)} categories that are not in the vocabulary: '
            f'{unknown[:5]}; correct their names, or leave them out'
        )
    names, result = set(own), []
    for category, name, written in zip(categories, own, raw, strict=True):
        given = more.get(written, more.get(name))
        if given is None:
            given = [*category['synonyms'][1:], *(wordnet.lemmas(name, senses) if wordnet else ())]
        synonyms = _distinct([name, *given])
        synonyms = [word for word in synonyms if word == name or word not in names]
        result.append({**category, 'synonyms': synonyms})
    return result


def _distinct(words: Iterable[str]) -> list[str]:
    """As they are read, each once; empty ones are left out."""
    return list(dict.fromkeys(filter(None, map(readable_name, words))))
