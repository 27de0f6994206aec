"""The tables of the mini world's segmentors, by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import segment_report

from mmdet_vild.evaluation.open_vocabulary_seg_metric import write_counts

NAMES = ['owl', 'wrench', 'violin', 'sky']
#: Correct, predicted and annotated pixels; nothing is annotated as an owl in unseen pictures.
BY_NAME = np.array([[6, 8, 1, 90], [10, 9, 1, 100], [8, 12, 10, 90]])
BY_SYNONYM = np.array([[6, 2, 1, 90], [12, 2, 1, 100], [8, 12, 10, 90]])
UNSEEN = np.array([[0, 3, 0, 50], [4, 6, 0, 60], [0, 6, 10, 50]])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / 'gkc').mkdir()
    things = [dict(name=n, frequency='r' if n == 'violin' else 'f') for n in NAMES]
    held_out = [dict(each) for each in things]
    held_out[1]['synonyms'] = ['spanner']
    contents = {'categories': things[:3], 'gkc/names': things, 'gkc/held_out': held_out}
    for name, content in contents.items():
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def rows(data: Path) -> dict:
    for words, counts in (('names', BY_NAME), ('held_out', BY_SYNONYM)):
        write_counts(data / words / 'test.json', NAMES, counts)
        write_counts(data / words / 'unseen.json', NAMES, UNSEEN)
    folders = {words: data / words for words in ('names', 'held_out')}
    return {'plain': segment_report.evaluate_method(data, folders)}


def test_columns(rows: dict) -> None:
    seen, unseen = rows['plain'].values()
    # owl 6 / (10 + 8 - 6), wrench 8 / (9 + 12 - 8), by another name 2 / (2 + 12 - 2).
    assert list(seen.values()) == pytest.approx(
        [100 * (6 / 12 + 8 / 13) / 2, 100 * 8 / 13, 100 * 2 / 12, 100 * 1 / 10, 100 * 90 / 100]
    )
    assert list(unseen.values()) == pytest.approx(
        [100 * 3 / 9, 100 * 3 / 9, 100 * 3 / 9, 0, 100 * 50 / 60]
    )


def test_demo_table(rows: dict) -> None:
    first, second = segment_report.demo_table(rows, {'plain': 41.6}).split('\n\n')
    header = 'base | with a synonym, by its name | by the held-out synonym | novel | materials | ms'
    assert first.splitlines()[0] == f'| mIoU, seen designs | {header} |'
    assert first.splitlines()[2] == '| plain | 55.8 | 61.5 | 16.7 | 10.0 | 90.0 | 42 |'
    assert second.splitlines()[2] == '| plain | 33.3 | 33.3 | 33.3 | 0.0 | 83.3 | 42 |'


def test_full_tables(rows: dict) -> None:
    other = json.loads(json.dumps(rows))
    other['plain']['seen designs']['novel'] = 16.0
    per_seed = [
        {'rows': rows, 'times': {'plain': 40.0}},
        {'rows': other, 'times': {'plain': 44.0}},
    ]
    table = segment_report.full_tables(per_seed)
    # the deviation of a sample of two: their distance over the root of 2
    expected = '55.8 ± 0.0 | 61.5 ± 0.0 | 16.7 ± 0.0 | 13.0 ± 4.2 | 90.0 ± 0.0 | 42 ± 3'
    assert table.splitlines()[2] == f'| plain | {expected} |'
    assert '| other |' not in table
