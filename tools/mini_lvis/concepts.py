"""What the mini world's categories are made of, and how their names are read.

A category name is a colour and a shape, optionally after a pattern: ``red heart``, ``striped blue
fish``. A category list is a JSON list of LVIS-style category dicts, of which ``name`` and
``frequency`` are required (``f`` and ``c`` are base categories, ``r`` is novel)::

    [{"name": "red circle", "frequency": "f"}, {"name": "red heart", "frequency": "r"}]
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from shapes import SHAPES

#: Colour -> (hue in degrees, saturation, value); pictures vary it by up to ``COLOUR_SPREAD``.
COLOURS = {
    'red': (357, 0.92, 0.85),
    'orange': (27, 0.95, 0.97),
    'yellow': (56, 0.88, 0.97),
    'green': (118, 0.80, 0.62),
    'cyan': (182, 0.80, 0.88),
    'blue': (224, 0.88, 0.82),
    'purple': (278, 0.72, 0.66),
    'pink': (332, 0.48, 0.98),
    'white': (60, 0.03, 0.98),
}
#: Largest departure from a colour: hue in degrees, saturation, value.
COLOUR_SPREAD = (5.0, 0.07, 0.07)

#: Surface patterns, drawn in a darker tone of the colour; a name without one means a plain surface.
PATTERNS = ('striped', 'dotted', 'checkered')

#: Other words for a shape; they fill in a category's ``synonyms`` and are understood in names too.
SHAPE_SYNONYMS = {
    'bolt': 'lightning',
    'bow': 'ribbon',
    'crescent': 'moon',
    'cross': 'plus',
    'cup': 'mug',
    'drop': 'teardrop',
    'rabbit': 'bunny',
    'ring': 'hoop',
    'stairs': 'steps',
}
_SHAPE_OF = {**{s: s for s in SHAPES}, **{v: k for k, v in SHAPE_SYNONYMS.items()}}

FREQUENCIES = ('f', 'c', 'r')
DEFAULT_CATEGORIES = Path(__file__).with_name('categories.json')


class Concept(NamedTuple):
    """What an object looks like; ``pattern`` is an empty string for a plain surface."""

    pattern: str
    colour: str
    shape: str

    @property
    def name(self) -> str:
        """The name in canonical words, e.g. ``striped blue fish``."""
        return ' '.join(filter(None, self))

    @property
    def synonyms(self) -> list[str]:
        """The canonical name and, where its shape has another word, the name with that."""
        other = SHAPE_SYNONYMS.get(self.shape)
        return [self.name] + ([self._replace(shape=other).name] if other else [])


def all_concepts() -> list[Concept]:
    """Every object the library can draw."""
    return [Concept(p, c, s) for p in ('', *PATTERNS) for c in COLOURS for s in SHAPES]


def known_words() -> str:
    """The words a name may use, for error messages."""
    others = ', '.join(f'{v} (= {k})' for k, v in SHAPE_SYNONYMS.items())
    return (
        f'patterns (optional): {", ".join(PATTERNS)}; colours: {", ".join(COLOURS)}; '
        f'shapes: {", ".join(SHAPES)}, {others}'
    )


def parse_name(name: str) -> Concept:
    """Reads a category name.

    Args:
        name (str): ``[pattern] colour shape``, e.g. ``red heart``, in any case; ``_`` is a space.

    Raises:
        ValueError: if a word is unknown or the words are not in this order.
    """
    words = name.lower().replace('_', ' ').split()
    unknown = [w for w in words if w not in PATTERNS and w not in COLOURS and w not in _SHAPE_OF]
    if unknown:
        raise ValueError(
            f'category {name!r}: unknown word {unknown[0]!r}. Known are {known_words()}.'
        )
    pattern = words.pop(0) if words and words[0] in PATTERNS else ''
    if len(words) != 2 or words[0] not in COLOURS or words[1] not in _SHAPE_OF:
        raise ValueError(
            f"category {name!r} must read '[pattern] colour shape', e.g. 'red heart' or 'striped "
            f"blue fish'. Known are {known_words()}."
        )
    return Concept(pattern, words[0], _SHAPE_OF[words[1]])


def complete_categories(categories: list[dict]) -> list[dict]:
    """Checks a category list and fills in absent ``id``, ``synset``, ``synonyms`` and ``def``.

    Args:
        categories (list[dict]): category dicts with at least ``name`` and ``frequency``.

    Returns:
        list[dict]: new dicts in LVIS's key order, in the given order (which is label order).

    Raises:
        ValueError: if the list is no list of dicts, a name is missing, unknown or a duplicate (two
            names of one picture are duplicates too), ids clash or do not ascend, a frequency is
            missing or not f, c or r, or there is no base or no novel category.
    """
    if not isinstance(categories, list) or not all(isinstance(c, dict) for c in categories):
        raise ValueError(
            'a category list must be a JSON list of objects such as '
            '{"name": "red heart", "frequency": "r"}'
        )
    if any('id' in c for c in categories) and not all('id' in c for c in categories):
        raise ValueError(
            "some categories have an 'id' and others have none: give all of them one, or none"
        )
    seen, words, completed = {}, {}, []
    for i, category in enumerate(categories):
        name = category.get('name')
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"category number {i + 1} has no 'name': {category}")
        concept = parse_name(name)
        if concept in seen:
            raise ValueError(
                f'duplicate category: {name!r} and {seen[concept]!r} are the same picture'
            )
        seen[concept] = name
        if category.get('frequency') not in FREQUENCIES:
            raise ValueError(
                f"category {name!r}: 'frequency' is {category.get('frequency')!r}, but must be 'f' "
                "or 'c' (base) or 'r' (novel)"
            )
        synonyms = category.get('synonyms') or [name, *[s for s in concept.synonyms if s != name]]
        if not isinstance(synonyms, list) or not all(isinstance(s, str) for s in synonyms):
            raise ValueError(
                f"category {name!r}: 'synonyms' must be a list of strings, not {synonyms!r}"
            )
        for word in {name, *synonyms}:
            if words.setdefault(word.lower(), name) != name:
                raise ValueError(f'{word!r} stands for both {words[word.lower()]!r} and {name!r}')
        completed.append(
            {
                'id': category.get('id', i + 1),
                'name': name,
                'synset': category.get('synset') or f'{name.replace(" ", "_")}.n.01',
                'synonyms': synonyms,
                'def': category.get('def')
                or f'a {concept.shape} with a {concept.colour} '
                f'{concept.pattern or "plain"} surface',
                'frequency': category['frequency'],
            }
        )
    ids = [c['id'] for c in completed]
    if not all(isinstance(i, int) and i > 0 for i in ids) or sorted(set(ids)) != ids:
        raise ValueError(
            f'category ids must be positive integers in ascending order, but are {ids}'
        )
    for kind, group in (('base (f or c)', 'fc'), ('novel (r)', 'r')):
        if not any(c['frequency'] in group for c in completed):
            raise ValueError(
                f'the category list has no {kind} category; the mini world needs both kinds'
            )
    return completed


def load_categories(path: str | os.PathLike) -> list[dict]:
    """Reads a category file; see ``complete_categories``, whose errors then name the file."""
    try:
        return complete_categories(json.loads(Path(path).read_text(encoding='utf-8')))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def novel_kinds(categories: list[dict]) -> dict[str, str]:
    """Tells novel categories that text alone can teach from those it cannot.

    Args:
        categories (list[dict]): category dicts with ``name`` and ``frequency``.

    Returns:
        dict[str, str]: for each novel name ``unseen words``, if a part of it (pattern, colour or
        shape) is in no base name, else ``unseen combination``.
    """
    known = {part for c in categories if c['frequency'] != 'r' for part in parse_name(c['name'])}
    return {
        c['name']: 'unseen combination'
        if known.issuperset(filter(None, parse_name(c['name'])))
        else 'unseen words'
        for c in categories
        if c['frequency'] == 'r'
    }
