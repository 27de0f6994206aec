"""The benchmarks run and report; what they measure here means nothing."""

import argparse
import re

import data_time
import inference
import lvis_evaluation
import own_words
import pytest
import rescoring
import segmentation
import store
import store_damage
import teacher
import teacher_scores
import torch
import train_step
from mmdet.evaluation import eval_map
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

#: Benchmark: options that make it short, and what it prints.
BENCHMARKS = {
    store: (
        '--images 5 --rounds 1 --regions 300 --width 512 --shards 2',
        r'LVIS train, 100170 images: \d+\.\d GB \(at most 32: (met|missed)\)',
    ),
    # None of the files ended the process, or was read as something else.
    store_damage: ('--damages 10', r'store \(SQLite\) \| 0 \| \d+ \| \d+ \| 0 \|'),
    data_time: (
        '--images 4 --rounds 1 --regions 20 --width 8',
        r'\| with CLIPCropEmbedding \| [\d.]+ \| [\d.]+ \([\d.]+ to [\d.]+\) \|',
    ),
    segmentation: (
        '--tiny --images 2 --rival-images 1 --height 64 --width 64 --categories 20 --device cpu',
        r'\| 20 \| gkc \| [\d.]+ \| [\d.]+ of mask2former \| at most 1.02: (met|missed) \| \d+ \|'
        r'\n\| 20 \| two-stage \| [\d.]+ \| [\d.]+ of gkc \| at least 10: (met|missed) \| \d+ \|',
    ),
    lvis_evaluation: ('--images 2 --masks', 'The figures are the same'),
    rescoring: (
        '--proposals 40 --categories 30 --max-per-img 20 --rounds 1',
        r'\| flat \| [\d.]+ \| [\d.]+ \| [\d.]+ \| 1.05: (met|missed) \| \d+ \|',
    ),
    teacher_scores: (
        '--model mini-clip --boxes 2 3 --categories 4 --rounds 1',
        r'\| 3 \| \d+ \| [\d.]+ \|',
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('benchmark', BENCHMARKS, ids=lambda b: b.__name__)
def test_prints_figures(benchmark, capsys, monkeypatch):
    """Those that gpu.py runs are run by tests/end_to_end/test_docs.py."""
    monkeypatch.delitem(store_damage.KINDS, 'LMDB')  # not among the dependencies
    options, text = BENCHMARKS[benchmark]
    benchmark.main(options.split())
    printed = capsys.readouterr().out
    assert re.search(text, printed), printed


@pytest.mark.parametrize(
    'benchmark', [store, teacher, teacher_scores, rescoring, data_time, inference, train_step]
)
def test_refuses_wrong_sizes(benchmark):
    with pytest.raises(SystemExit):
        getattr(benchmark, 'parse_args', benchmark.main)(['--rounds', '0'])


def test_segmentation_compares_in_each_round():
    """A slow round is slow for all; the rival has fewer of them."""
    times = {
        'mask2former': {1: 1.0, 2: 5.0, 3: 1.0},
        'gkc': {1: 1.01, 2: 5.05, 3: 2.0},
        'two-stage': {2: 60.0},
    }
    found = [segmentation.compared(times, kind) for kind in segmentation.KINDS]
    assert found[:2] == ['|', '1.010 of mask2former | at most 1.02: met']
    assert found[2] == '11.881 of gkc | at least 10: met'
    times['gkc'][1] = 1.5
    assert segmentation.compared(times, 'gkc').endswith('at most 1.02: missed')
    for wrong in (['--rival-images', '0'], ['--images', '2', '--rival-images', '3']):
        with pytest.raises(SystemExit):
            segmentation.main(wrong)


def test_data_time_admits_what_the_rounds_do_not_tell():
    assert data_time.spread([1.04, 1.0, 1.1]) == '1.040 (1.020 to 1.070)'
    verdicts = [data_time.verdict(r) for r in ([1.04, 1.0, 1.1], [1.0, 1.04, 1.05], [1.06, 1.2])]
    assert verdicts == ['within the noise', 'met', 'missed']


def test_lvis_evaluation_says_who_needs_too_much_memory():
    found = {
        'LVISMetric': dict(limit=20 * 10**9),
        'FastLVISMetric': dict(batches=3.0, end=70.0, memory=5 * 10**9, figures={}),
    }
    printed = lvis_evaluation.report(argparse.Namespace(images=9, masks=False), found)
    assert '| LVISMetric | | | more than 20.0 | | |' in printed
    assert '| FastLVISMetric | 3 | 70 | 5.0 | | at most 0.250 |' in printed
    assert 'The figures are' not in printed


class Shelf:
    """Ten images: a cup and a crowd of cups in each, and a plate in every second one."""

    metainfo = dict(classes=('plate', 'cup', 'fork'))

    def __len__(self) -> int:
        return 10

    def get_data_info(self, index: int) -> dict:
        objects = [dict(bbox=[0, 0, 10, 10], bbox_label=1, ignore_flag=0)]
        objects += [dict(bbox=[50, 0, 90, 90], bbox_label=1, ignore_flag=1)]
        objects += [dict(bbox=[20, 0, 30, 10], bbox_label=0, ignore_flag=0)] * (index % 2)
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


def test_own_words_by_pictures(monkeypatch):
    """Of other images than the one that is asked, and of objects that are large enough."""

    class Dataset(Shelf):
        def get_data_info(self, index: int) -> dict:
            info = super().get_data_info(index)
            size = 10 + index  # those of the first six images are too small
            objects = [{**each, 'bbox': [0, 0, size, 99]} for each in info['instances']]
            crowds = index in (7, 9)
            return {**info, 'instances': [{**each, 'ignore_flag': crowds} for each in objects]}

    asked = []

    def detector(model, path: str, text_prompt: list[dict], custom_entities: bool) -> DetDataSample:
        asked.append((path, text_prompt))
        instances = InstanceData(labels=torch.zeros(0), scores=torch.zeros(0))
        instances.bboxes = torch.zeros(0, 4)
        return DetDataSample(pred_instances=instances)

    monkeypatch.setattr(own_words, 'inference_detector', detector)
    pictures = own_words.Pictures(Dataset(), 2)
    own_words.detect(None, Dataset(), 1, 8, [1], pictures)
    assert len(asked) == 8
    for path, (word,) in asked:
        images = {example['image'] for example in word['examples']}
        assert word['name'] == 'cup' and len(images) == 2 - (path in ('6', '8'))
        assert images <= {'6', '8'} - {path}
    with pytest.raises(ValueError, match='no object of label 2 of 16 pixels .* example for x'):
        pictures(2, 'x')
