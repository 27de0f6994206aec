"""The tables of the documentation, and the figures of each seed that they are made of."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[2] / 'docs'
END = '<!-- end of results -->'


def publish(
    page: str,
    begin: str,
    name: str,
    seed: int,
    rows: dict,
    tables: Callable[[Sequence[dict]], str],
    docs: Path = DOCS,
) -> None:
    """Keep the figures of a seed in the documentation, and make the tables of all its seeds anew.

    Seeds may so be run one by one, and on several machines.

    Args:
        page: The page of the tables, like ``'ezsd.md'``.
        begin: The line of the page that they go below, down to ``END``.
        name: Of the file of figures, ``docs/results/NAME.json``: by seeds, to three decimals, and
            null for NaN. The same seed is replaced.
        seed: Whose figures they are.
        rows: The figures: numbers, or dicts of such.
        tables: Makes the Markdown, of the figures of each seed.
        docs: Folder of the documentation.

    Raises:
        SystemExit: The page has no such lines; the figures are kept.
    """
    file = docs / 'results' / f'{name}.json'
    kept = json.loads(file.read_text()) if file.exists() else {}
    kept[str(seed)] = json.loads(
        json.dumps(rows),
        parse_float=lambda text: round(float(text), 3),
        parse_constant=lambda text: None,
    )
    seeds = sorted(kept, key=int)
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ',\n'.join(f'"{each}": {json.dumps(kept[each])}' for each in seeds)
    file.write_text(f'{{\n{lines}\n}}\n')
    outline = _outline(rows)
    alike = [each for each in seeds if _outline(kept[each]) == outline]
    if other := [each for each in seeds if each not in alike]:
        print(f'{file}: other rows of seeds {", ".join(other)}; not in the tables, run them again')
    text = tables([kept[each] for each in alike])
    _write(docs / page, begin, f'Seed{"s" * (len(alike) > 1)} {", ".join(alike)}.\n\n{text}')
    print(f'\n{text}\n\nwritten to {docs / page}', flush=True)


def _outline(rows: object) -> dict | None:
    """All keys of nested dicts."""
    return {k: _outline(v) for k, v in rows.items()} if isinstance(rows, dict) else None


def _write(page: Path, begin: str, text: str) -> None:
    """Put a text between two lines of a page, leaving the rest as it is."""
    head, found, rest = page.read_text().partition(begin)
    if not found or END not in rest:
        raise SystemExit(f'{page} has no lines "{begin}" and "{END}" to put the tables between')
    tail = rest.split(END, 1)[1]
    page.write_text(f'{head}{begin}\n\n{text}\n\n{END}{tail}')
