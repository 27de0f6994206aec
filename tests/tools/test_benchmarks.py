"""The benchmark runs and reports; what it measures here means nothing."""

import re
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools' / 'benchmarks'
sys.path.insert(0, str(TOOLS))

import postprocess  # noqa: E402
import train_step  # noqa: E402

pytestmark = pytest.mark.onedl

TINY = '--device cpu --batch-size 1 --image-size 64 --rounds 1 --warm-up 1 --rois 8 --regions 4'


@pytest.mark.slow
def test_train_step_prints_ratios(monkeypatch, capsys):
    names = ('Mask R-CNN', 'ViLD-ensemble')
    monkeypatch.setattr(train_step, 'COMPARISONS', {'2fc': ('a title', names)})
    train_step.main([*TINY.split(), '--heads', '2fc'])
    printed = capsys.readouterr().out
    assert 'torch' in printed and '8 sampled and 4 distillation RoIs' in printed
    lines = [line for line in printed.splitlines() if line.startswith(('| Mask', '| ViLD'))]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    assert [row[0] for row in rows] == list(names)
    for row in rows:
        low, high = re.fullmatch(r'([\d.]+)-([\d.]+)', row.pop(3)).groups()
        assert all(float(cell) > 0 for cell in [low, high, *row[1:]])
    assert [rows[0][i] for i in (2, 4, 5)] == ['1.00'] * 3


def test_both_comparisons_start_from_the_stock_config():
    for _, names in train_step.COMPARISONS.values():
        assert names[0] == train_step.BASELINE
        assert set(names) <= set(train_step.MODELS_OF)


@pytest.mark.parametrize('wrong', [['--rounds', '0'], ['--amp', '--device', 'cpu']])
def test_refuses_wrong_options(wrong):
    with pytest.raises(SystemExit):
        train_step.parse_args(wrong)


def test_postprocess_prints_ratios(capsys):
    postprocess.main(
        ['--proposals', '50', '--categories', '20', '--max-per-img', '10', '--rounds', '1']
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if '| aim' not in line]
    rows = [[c.strip() for c in line.strip('|').split('|')] for line in lines if '| 0' in line]
    assert [row[:2] for row in rows] == [
        [s, t] for s in postprocess.SPREADS for t in ('0', '0.0001')
    ]
    for row in rows:
        assert all(float(cell) > 0 for cell in row[2:5]) and row[6] == '0'
