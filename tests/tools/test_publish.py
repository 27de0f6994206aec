"""Where figures of several seeds are kept, and the tables that are made of them."""

import json
import re
from pathlib import Path

import ablation
import demo_ezsd
import demo_full
import demo_gkc_full
import finetune
import publish
import pytest

BEGIN = '<!-- here -->'


def table(per_seed: list[dict]) -> str:
    return f'AP {" and ".join(str(rows["a"]["AP"]) for rows in per_seed)}'


def run(docs: Path, seed: int, rows: dict) -> str:
    publish.publish('page.md', BEGIN, 'figures', seed, rows, table, docs)
    return (docs / 'page.md').read_text()


def test_seeds_add_up(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{BEGIN}\nold\n{publish.END}\nafter\n')

    def expect(seeds: str, text: str) -> str:
        return f'before\n{BEGIN}\n\n{seeds}.\n\n{text}\n\n{publish.END}\nafter\n'

    assert run(tmp_path, 10, {'a': {'AP': 1.23456}}) == expect('Seed 10', 'AP 1.235')
    assert run(tmp_path, 2, {'a': {'AP': 4}}) == expect('Seeds 2, 10', 'AP 4 and 1.235')
    assert run(tmp_path, 10, {'a': {'AP': 7}}) == expect('Seeds 2, 10', 'AP 4 and 7')
    file = tmp_path / 'results' / 'figures.json'
    assert json.loads(file.read_text()) == {'2': {'a': {'AP': 4}}, '10': {'a': {'AP': 7}}}
    assert run(tmp_path, 10, {'a': {'AP': float('nan')}}) == expect('Seeds 2, 10', 'AP 4 and None')
    assert 'NaN' not in file.read_text()  # which is no JSON
    run(tmp_path, 10, {'a': {'AP': 7}})
    capsys.readouterr()

    # of other rows there is no mean; none are lost
    assert run(tmp_path, 3, {'a': {'AP': 5}, 'b': {'AP': 1}}) == expect('Seed 3', 'AP 5')
    assert f'{file}: other rows of seeds 2, 10;' in capsys.readouterr().out
    assert list(json.loads(file.read_text())) == ['2', '3', '10']


def test_a_page_without_the_lines_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / 'page.md').write_text(f'no end\n{BEGIN}\n')
    with pytest.raises(SystemExit, match=f'page.md has no lines "{BEGIN}"'):
        run(tmp_path, 0, {'a': {'AP': 7}})
    assert (tmp_path / 'page.md').read_text() == f'no end\n{BEGIN}\n'
    assert '"AP": 7' in (tmp_path / 'results' / 'figures.json').read_text()


def test_pages_have_the_lines() -> None:
    pages = [
        ('mini_lvis.md', demo_full.BEGIN),
        ('ezsd.md', demo_ezsd.BEGIN),
        ('gkc.md', demo_gkc_full.BEGIN),
        ('vild_plus.md', finetune.BEGIN),
        *((page, begin) for page, begin, _ in ablation.TABLES.values()),
    ]
    for page, begin in pages:
        text = (publish.DOCS / page).read_text()
        assert text.count(begin) == 1
        assert publish.END in text.partition(begin)[2]
    assert len(set(pages)) == 7


def test_tables_are_those_of_the_figures() -> None:
    """What the documentation shows is made of the files beside it."""
    made = {
        'mini_lvis': ('mini_lvis.md', demo_full.BEGIN, demo_full.report.full_tables),
        'ezsd': ('ezsd.md', demo_ezsd.BEGIN, demo_ezsd.tables),
        'gkc': ('gkc.md', demo_gkc_full.BEGIN, demo_gkc_full.segment_report.full_tables),
        'finetuning': ('vild_plus.md', finetune.BEGIN, finetune.tables),
    }
    for what, (page, begin, name) in ablation.TABLES.items():
        made[name] = (page, begin, lambda per_seed, what=what: ablation.tables(what, per_seed))
    for name, (page, begin, tables) in made.items():
        file = publish.DOCS / 'results' / f'{name}.json'
        if file.exists():
            text = (publish.DOCS / page).read_text()
            figures = json.loads(file.read_text())
            seeds = f'Seed{"s" * (len(figures) > 1)} {", ".join(figures)}.'
            shown = re.search(f'{re.escape(begin)}\n\n(.*?)\n\n{publish.END}', text, re.S)
            assert shown[1] == f'{seeds}\n\n{tables(list(figures.values()))}'
