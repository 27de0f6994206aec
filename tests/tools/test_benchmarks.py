"""The benchmarks run and report; what they measure here means nothing."""

import argparse
import re
from pathlib import Path

import data_time
import inference
import lvis_evaluation
import own_words
import postprocess
import pytest
import store
import store_damage
import teacher
import torch
import train_step
from mmdet.evaluation import eval_map
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

TOOLS = Path(__file__).parents[2] / 'tools' / 'benchmarks'


def test_both_comparisons_start_from_the_stock_config():
    for _, names in train_step.COMPARISONS.values():
        assert names[0] == train_step.BASELINE
        assert set(names) <= set(train_step.MODELS_OF)


@pytest.mark.parametrize('wrong', [['--rounds', '0'], ['--amp', '--device', 'cpu']])
def test_refuses_wrong_options(wrong):
    with pytest.raises(SystemExit):
        train_step.parse_args(wrong)


def rows_of(printed: str) -> dict[str, list[str]]:
    """The rows of the Markdown table in what was printed."""
    lines = [line for line in printed.splitlines() if line.startswith('| ')]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_store_prints_ratios(capsys):
    store.main(
        ['--images', '5', '--rounds', '1', '--regions', '300', '--width', '512', '--shards', '2']
    )
    printed = capsys.readouterr().out
    rows = rows_of(printed)
    assert all(float(cell) > 0 for name in store.KINDS for cell in rows[name][:3])
    size = float(rows['embedding store'][0])
    assert 300 * (20 + 2 * 512) <= size < 1.2 * 300 * (20 + 2 * 512)
    assert re.search(r'LVIS train, 100170 images: \d+.\d GB \(at most 32: (met|missed)\)', printed)
    found = re.findall(r'at least 5: (?:met|missed)\).*\(at most 1.2: (?:met|missed)\)', printed)
    assert len(found) == 2  # mapped, and not


def test_store_damage_prints_counts(capsys, monkeypatch):
    monkeypatch.delitem(store_damage.KINDS, 'LMDB')  # not among the dependencies
    store_damage.main(['--damages', '10'])
    rows = rows_of(capsys.readouterr().out)
    ended, reported, unchanged, unnoticed = map(int, rows['embedding store (SQLite)'])
    assert (ended, unnoticed) == (0, 0) and reported > 0 and reported + unchanged == 10


def test_teacher_prints_ratios(capsys):
    sizes = '--model mini-clip --images 2 --regions 5 --rounds 1 --batch-size 8'
    teacher.main(sizes.split())
    printed = capsys.readouterr().out
    rows = rows_of(printed)
    for name in ('preprocessing alone', 'end to end'):
        assert all(float(cell) > 0 for cell in rows[name])
    assert re.search(r'forward pass alone: \d+ crops/s, of which we reach \d+ %', printed)
    average, worst = re.search(r'ways: ([\d.]+) on average, ([\d.]+) at worst', printed).groups()
    assert float(average) >= 0.999 and float(worst) >= 0.99


@pytest.mark.slow
def test_data_time_prints_ratios(capsys):
    data_time.main(['--images', '4', '--rounds', '1', '--regions', '20', '--width', '8'])
    rows = rows_of(capsys.readouterr().out)
    assert [rows[data_time.WITHOUT][i] for i in (1, 3)] == ['1'] * 2
    assert all(float(cell.split()[0]) > 0 for cell in rows[data_time.WITH])


def test_data_time_admits_what_the_rounds_do_not_tell():
    assert data_time.spread([1.04, 1.0, 1.1]) == '1.040 (1.020 to 1.070)'
    verdicts = [data_time.verdict(r) for r in ([1.04, 1.0, 1.1], [1.0, 1.04, 1.05], [1.06, 1.2])]
    assert verdicts == ['within the noise', 'met', 'missed']


@pytest.mark.parametrize('benchmark', [store, teacher, data_time])
def test_refuses_wrong_sizes(benchmark):
    with pytest.raises(SystemExit):
        benchmark.main(['--rounds', '0'])


def test_postprocess_prints_ratios(capsys):
    postprocess.main(
        ['--proposals', '50', '--categories', '20', '--max-per-img', '10', '--rounds', '1']
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if '| aim' not in line]
    rows = [[c.strip() for c in line.strip('|').split('|')] for line in lines if '| 0' in line]
    assert [row[:2] for row in rows] == [
        [s, t] for s in postprocess.INPUTS for t in ('0', '0.0001')
    ]
    for row in rows:
        assert all(float(cell) > 0 for cell in row[2:5])
        assert row[6] == '0' or row[0] == 'equal'


@pytest.mark.slow
def test_inference_prints_ratios(capsys):
    models = ('Mask R-CNN', 'ViLD-ensemble')
    sizes = '--device cpu --height 64 --width 96 --rounds 1 --warm-up 1 --proposals 10'
    inference.main([*sizes.split(), '--vocabularies', '20', '80', '--models', *models])
    printed = capsys.readouterr().out
    rows = rows_of(printed)
    assert set(models) <= set(rows) and rows['Mask R-CNN'][1] == '1.00'
    assert float(rows['ViLD-ensemble'][1]) > 0 and rows['ViLD-ensemble'][3] == '300'
    assert all(float(cell) > 0 for words in ('20', '80') for cell in rows[words])
    with pytest.raises(SystemExit):
        inference.parse_args(['--rounds', '0'])


@pytest.mark.slow
def test_lvis_evaluation_prints_ratios(capsys):
    lvis_evaluation.main(['--images', '2', '--masks'])
    printed = capsys.readouterr().out
    assert 'The figures are the same' in printed
    rows = rows_of(printed)
    assert rows['LVISMetric'][3:] == ['1.000', '1.000'] and float(rows['FastLVISMetric'][3]) > 0


def test_lvis_evaluation_says_who_needs_too_much_memory():
    found = {
        'LVISMetric': dict(limit=20 * 10**9),
        'FastLVISMetric': dict(batches=3.0, end=70.0, memory=5 * 10**9, figures={}),
    }
    printed = lvis_evaluation.report(argparse.Namespace(images=9, masks=False), found)
    rows = rows_of(printed)
    assert rows['LVISMetric'][2] == 'more than 20.0'
    assert rows['FastLVISMetric'] == ['3', '70', '5.0', '', 'at most 0.250']
    assert 'The figures are' not in printed


class Shelf:
    """Ten images: a cup in each, and a plate in every second one."""

    metainfo = dict(classes=('plate', 'cup', 'fork'))

    def __len__(self) -> int:
        return 10

    def get_data_info(self, index: int) -> dict:
        objects = [dict(bbox=[0, 0, 10, 10], bbox_label=1)]
        objects += [dict(bbox=[20, 0, 30, 10], bbox_label=0)] * (index % 2)
        return dict(img_path=f'{index}', instances=objects)


def test_own_words_counts_what_is_right(monkeypatch):
    """Cups are found, a plate is said to be in every image, and forks are never found."""

    def detector(model, path: str, text_prompt: list[str], custom_entities: bool) -> DetDataSample:
        found = {'cup': (0.9, 0), 'plate': (0.8, 20)}
        rows = [(label, *found[word]) for label, word in enumerate(text_prompt) if word in found]
        instances = InstanceData(
            labels=torch.tensor([label for label, _, _ in rows]),
            scores=torch.tensor([score for _, score, _ in rows]),
            bboxes=torch.tensor([[x, 0.0, x + 9, 10] for _, _, x in rows]).reshape(-1, 4),
        )
        return DetDataSample(pred_instances=instances)

    monkeypatch.setattr(own_words, 'inference_detector', detector)
    _, (result,) = eval_map(*own_words.detect(None, Shelf(), 3, 10), iou_thr=0.5, logger='silent')
    assert result['num_gts'] == 15 and result['num_dets'] == 20
    assert result['precision'][9] == 1 and result['precision'][-1] == 0.75
    (asked, _) = own_words.detect(None, Shelf(), 2, 4)
    assert len(asked) == 8
