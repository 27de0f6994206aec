"""Which categories a mini world has.

A category list is a JSON list of names that the drawings have, or of objects that also say how
frequent they are: ``["owl", {"name": "kiwi_fruit", "frequency": "r"}]``. ``f`` and ``c`` are base
categories, ``r`` is novel; without it a name has LVIS's own frequency. A synonym is as good as a
name.
"""

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

FREQUENCIES = ('f', 'c', 'r')
#: Base categories that fewer hands have drawn are in a world only if its list names them.
LEAST_HANDS = 5


def choose_categories(wanted: object, drawable: Sequence[dict]) -> list[dict]:
    """LVIS's categories of a category list.

    Args:
        wanted (object): the category list, as read from JSON.
        drawable (Sequence[dict]): the categories of the drawings, in LVIS's form; of their keys
            only ``name`` and ``frequency`` are required.

    Returns:
        list[dict]: new dicts in LVIS's key order, by ascending id, which is label order.

    Raises:
        ValueError: the list is of another form, names something twice or something that is not
            drawn, a frequency is not f, c or r, or there is no base or no novel category.
    """
    if not isinstance(wanted, list) or not all(isinstance(w, str | dict) for w in wanted):
        raise ValueError(
            'a category list must be a JSON list of names, or of objects such as '
            '{"name": "owl", "frequency": "r"}'
        )
    full = [complete(category, i + 1) for i, category in enumerate(drawable)]
    named = {s.lower(): c for c in full for s in c['synonyms']}
    named |= {c['name'].lower(): c for c in full}  # a name counts before another's synonym
    chosen: dict[int, dict] = {}
    for i, entry in enumerate(wanted):
        entry = {'name': entry} if isinstance(entry, str) else entry
        name = entry.get('name')
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"category number {i + 1} has no 'name': {entry}")
        known = named.get(name.lower()) or named.get(name.lower().strip().replace(' ', '_'))
        if known is None:
            near = get_close_matches(name.lower(), named, 5, 0.5) or sorted(named)[:5]
            raise ValueError(f'there is no drawing of {name!r}; near it are {", ".join(near)}')
        frequency = entry.get('frequency', known['frequency'])
        if frequency not in FREQUENCIES:
            raise ValueError(
                f"category {name!r}: 'frequency' is {frequency!r}, but must be 'f' or 'c' (base) "
                "or 'r' (novel)"
            )
        if known['id'] in chosen:
            raise ValueError(f'duplicate category: {name!r} is {known["name"]!r}')
        chosen[known['id']] = {**known, 'frequency': frequency}
    for kind, group in (('base (f or c)', 'fc'), ('novel (r)', 'r')):
        if not any(c['frequency'] in group for c in chosen.values()):
            raise ValueError(
                f'the category list has no {kind} category; the mini world needs both kinds'
            )
    return [chosen[i] for i in sorted(chosen)]


def complete(category: dict, number: int) -> dict:
    """A category with all of LVIS's keys; ``number`` is its id if it has none."""
    name = category['name']
    return {
        'id': category.get('id', number),
        'name': name,
        'synset': category.get('synset', f'{name.replace(" ", "_")}.n.01'),
        'synonyms': category.get('synonyms', [name]),
        'def': category.get('def', ''),
        'frequency': category['frequency'],
    }


def load_categories(path: Path | None, drawable: Sequence[dict]) -> list[dict]:
    """Reads a category file, or takes the default categories; errors name the file.

    The default are the novel ones, and of the base ones those that at least ``LEAST_HANDS`` have
    drawn, where the drawings say by how many they are.
    """
    if path is None:
        wanted = [
            c['name']
            for c in drawable
            if c['frequency'] == 'r' or c.get('hands', LEAST_HANDS) >= LEAST_HANDS
        ]
        return choose_categories(wanted, drawable)
    try:
        return choose_categories(json.loads(path.read_text(encoding='utf-8')), drawable)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f'{path} is not valid JSON: {error}') from error
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
