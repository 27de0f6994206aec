"""Mean IoU as detectron2 counts it and as MMDetection does, against loops over pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.evaluation import SemSegMetric
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import PixelData
from torch import distributed
from two_processes import in_two_processes

from mmdet_vild.evaluation import OpenVocabularySegMetric
from mmdet_vild.evaluation.open_vocabulary_seg_metric import read_counts

pytestmark = pytest.mark.onedl

NAMES = ('wall', 'road, route', 'cat', 'tree', 'sky')
META = dict(classes=NAMES)
SPLIT = dict(classes=NAMES, novel_classes=('cat', 'sky'), base_classes=('wall', 'tree'))


def sample(predicted, truth, ignore_index: int = 255, **fields) -> DetDataSample:
    def pixels(labels, **meta) -> PixelData:
        return PixelData(metainfo=meta, sem_seg=torch.as_tensor(np.asarray(labels))[None])

    return DetDataSample(
        pred_sem_seg=pixels(np.asarray(predicted, np.int64)),
        gt_sem_seg=pixels(np.asarray(truth, np.int32), ignore_index=ignore_index),
        metainfo=dict(img_path='a.jpg', **fields),
    )


def evaluate(samples: list[DetDataSample], meta: dict = META, metric=None) -> dict:
    evaluator = Evaluator(metric or OpenVocabularySegMetric())
    evaluator.dataset_meta = meta
    for each in samples:
        evaluator.process([each])
    return evaluator.evaluate(len(samples))


def by_hand(samples: list[tuple], classes, ignored: int = 255) -> tuple[float, float, float, float]:
    """mIoU in detectron2's and mmdet's countings, mAcc and pAcc, pixel by pixel in Python."""
    true = dict.fromkeys(classes, 0)
    annotated, predicted = dict(true), dict(true)
    total = right = 0
    for prediction, truth in samples:
        for p, t in zip(np.ravel(prediction).tolist(), np.ravel(truth).tolist(), strict=True):
            if t == ignored:
                continue
            total += 1
            right += p == t
            for table, label in ((annotated, t), (predicted, p)):
                if label in table:
                    table[label] += 1
            if p == t and t in true:
                true[t] += 1
    unions = {c: annotated[c] + predicted[c] - true[c] for c in classes}
    present = [c for c in classes if annotated[c]]
    seen = [c for c in classes if unions[c]]
    mean = lambda values: 100 * sum(values) / len(values) if values else np.nan  # noqa: E731
    return (
        mean([true[c] / unions[c] for c in present]),
        mean([true[c] / unions[c] for c in seen]),
        mean([true[c] / annotated[c] for c in present]),
        100 * right / total if total else np.nan,
    )


maps = st.lists(st.integers(0, 4), min_size=12, max_size=12)
truths = st.lists(st.sampled_from([0, 1, 2, 3, 4, 255]), min_size=12, max_size=12)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(maps, truths), min_size=1, max_size=4))
def test_figures_are_those_of_a_loop(pairs):
    pairs = [(np.reshape(p, (3, 4)), np.reshape(t, (3, 4))) for p, t in pairs]
    found = evaluate([sample(*pair) for pair in pairs], SPLIT)

    def same(names: list[str], values) -> None:
        shown = [found[f'sem_seg/{name}'] for name in names]
        np.testing.assert_allclose(shown, values, atol=0.00501)

    figures = by_hand(pairs, range(5))
    same(['mIoU', 'mIoU_mmdet', 'mAcc', 'pAcc'], figures)
    base, novel = by_hand(pairs, [0, 1, 3]), by_hand(pairs, [2, 4])
    same(['base_mIoU', 'base_mIoU_mmdet'], base[:2])
    same(['novel_mIoU', 'novel_mIoU_mmdet'], novel[:2])
    a, b = base[0], novel[0]
    same(['harmonic_mIoU'], [2 * a * b / (a + b) if a + b else 0 * (a + b)])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(maps, truths), min_size=1, max_size=4))
def test_figures_are_mmdets(pairs):
    """Its mIoU, and its mAcc: both over what has pixels."""
    samples = [sample(np.reshape(p, (3, 4)), np.reshape(t, (3, 4))) for p, t in pairs]
    metric = SemSegMetric(prefix='sem_seg')
    expected = evaluate(samples, metric=metric)
    found = evaluate(samples)
    for own, theirs in (('mIoU_mmdet', 'mIoU'), ('mAcc', 'mAcc')):
        np.testing.assert_allclose(
            found[f'sem_seg/{own}'], expected[f'sem_seg/{theirs}'], atol=0.0101
        )


def test_a_class_that_is_only_predicted():
    """It is a 0 to mmdet and nothing to detectron2."""
    found = evaluate([sample([[0, 0, 2]], [[0, 0, 0]])])
    assert found['sem_seg/mIoU'] == 66.67 and found['sem_seg/mIoU_mmdet'] == 33.33
    assert found['sem_seg/pAcc'] == 66.67 and found['sem_seg/fwIoU'] == 66.67
    assert 'sem_seg/novel_mIoU' not in found


def test_frequency_weights():
    """Three pixels of class 0 with IoU 1/2, one of class 1 with IoU 1/3."""
    found = evaluate([sample([[0, 0, 1, 1, 0]], [[0, 0, 0, 1, 1]])])
    # class 0: 2 / 4, of 3 pixels; class 1: 1 / 3, of 2
    assert found['sem_seg/fwIoU'] == round(100 * (3 * 2 / 4 + 2 * 1 / 3) / 5, 2)


def test_labels_of_16_bits_and_many_pixels():
    """What is ignored is 65535 and not 255; a sum of pixels is exact beyond 2**24."""
    classes = tuple(f'class {i}' for i in range(847))
    truth = np.full((2, 3), 846)
    truth[0] = 255, 65535, 300
    predicted = np.where(truth == 65535, 7, truth)
    found = evaluate([sample(predicted, truth, 65535)], dict(classes=classes))
    assert found['sem_seg/mIoU'] == found['sem_seg/mIoU_mmdet'] == 100
    metric = OpenVocabularySegMetric()
    metric.dataset_meta = META
    counts = np.array([[0, 2**24, 0, 0, 0]] * 3)
    one = np.array([[0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 2**24, 0, 0]])
    figures = metric.compute_metrics([counts, one])
    assert figures['mIoU'] == 50 and figures['pAcc'] == round(100 * (2**24 + 1) / (2**25 + 1), 2)


def test_counts_of_classes_in_a_file(tmp_path):
    """Of all pictures, without ignored pixels."""
    samples = [sample([[0, 0, 1]], [[0, 1, 1]]), sample([[4, 4, 2]], [[4, 255, 3]])]
    out_file = str(tmp_path / 'folder/counts.json')
    evaluate(samples, metric=OpenVocabularySegMetric(out_file=out_file))
    classes, counts = read_counts(out_file)
    assert classes == list(NAMES)
    assert counts.tolist() == [[1, 1, 0, 0, 1], [2, 1, 1, 0, 1], [1, 2, 0, 1, 1]]


def test_what_is_predicted_as_nothing_is_missed():
    some = sample([[0, 255, 1, 255]], [[0, 0, 1, 255]])
    some.pred_sem_seg.set_metainfo(dict(ignore_index=255))
    found = evaluate([some])
    assert found['sem_seg/mIoU'] == found['sem_seg/mIoU_mmdet'] == 75
    assert found['sem_seg/pAcc'] == 66.67


def test_nothing_but_ignored_pixels():
    found = evaluate([sample([[1, 2]], [[255, 255]])], SPLIT)
    assert all(np.isnan(value) for value in found.values()) and len(found) == 10


def test_the_table_names_classes_and_marks_novel_ones(monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger, 'info', lambda self, text: said.append(text))
    evaluate([sample([[0, 2, 2, 3]], [[0, 2, 0, 2]])], SPLIT)
    rows = {r.split('|')[1].strip(): r for r in said[0].splitlines() if r.startswith('| ')}
    assert set(rows) == {'class', 'wall', 'cat*', 'tree'}  # 'sky' and 'road, route' are nowhere
    assert [cell.strip() for cell in rows['wall'].split('|')[2:5]] == ['50.00', '50.00', '2']
    assert [cell.strip() for cell in rows['tree'].split('|')[2:5]] == ['0.00', 'nan', '0']


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (sample([[0, 1]], [[0, 1], [1, 1]]), r'\(2, 1\) pixels .* ground truth \(2, 2\); put Load'),
        (sample([[0, 5]], [[0, 1]]), 'the prediction of a.jpg has the label 5, .* has 5 classes'),
        (sample([[0, 1]], [[0, 7]]), 'the ground truth of a.jpg has the label 7'),
        (sample([[0, -1]], [[0, 1]]), 'the prediction of a.jpg has the label -1'),
    ],
)
def test_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        evaluate([wrong])


def test_needs_ground_truth():
    with_truth = sample([[0]], [[0]])
    del with_truth.gt_sem_seg
    with pytest.raises(ValueError, match='a.jpg was tested without ground truth'):
        evaluate([with_truth])
    unsaid = sample([[0]], [[0]])
    unsaid.gt_sem_seg = PixelData(sem_seg=torch.zeros(1, 1, 1))
    with pytest.raises(ValueError, match='does not say which label is ignored'):
        evaluate([unsaid])


def pictures(count: int) -> list[DetDataSample]:
    generator = np.random.default_rng(0)
    return [sample(*generator.integers(0, 5, (2, 4, 4))) for _ in range(count)]


def evaluated_by_rank(rank: int, folder: str) -> None:
    """One of two processes, which test every second of five pictures; the sampler repeats one."""
    store = distributed.FileStore(f'{folder}/store', 2)
    distributed.init_process_group('gloo', store=store, rank=rank, world_size=2)
    samples = pictures(5)
    evaluator = Evaluator(METRICS.build(dict(type='OpenVocabularySegMetric')))
    evaluator.dataset_meta = SPLIT
    for index in (rank, rank + 2, (rank + 4) % 5):
        evaluator.process([samples[index]])
    torch.save(evaluator.evaluate(5), f'{folder}/{rank}.pt')


def test_of_two_processes(tmp_path: Path):
    expected = evaluate(pictures(5), SPLIT)
    in_two_processes(evaluated_by_rank, str(tmp_path))
    for rank in range(2):
        assert torch.load(tmp_path / f'{rank}.pt', weights_only=False) == expected
