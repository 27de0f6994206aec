"""Where the full demo writes its tables."""

from pathlib import Path

import demo_full
import pytest


def test_the_documentation_shows_the_default_worlds_only(tmp_path: Path) -> None:
    assert demo_full.default_page([0, 1, 2], None) == demo_full.DOC
    assert demo_full.DOC.is_file()
    assert demo_full.default_page([3], None) is None
    other = tmp_path / 'categories.json'
    other.write_text('[{"name": "red circle", "frequency": "f"}]')
    assert demo_full.default_page([0, 1, 2], other) is None


def test_tables_replace_those_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{demo_full.BEGIN}\nold\n{demo_full.END}\nafter\n')
    for tables in ('first', 'second'):
        demo_full.write_tables(page, tables, [0, 4])
        text = f'before\n{demo_full.BEGIN}\n\nSeeds 0, 4.\n\n{tables}\n\n{demo_full.END}\nafter\n'
        assert page.read_text() == text
    new = tmp_path / 'new.md'
    demo_full.write_tables(new, 'tables', [1])
    assert 'Seeds 1.\n\ntables' in new.read_text()
    page.write_text('no markers')
    with pytest.raises(SystemExit, match='has no lines'):
        demo_full.write_tables(page, 'tables', [0])
    assert page.read_text() == 'no markers'
