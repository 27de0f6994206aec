"""Shares of crops that are named right, by hand."""

import math

import pytest
import torch

from mmdet_vild.evaluation import CropAccuracy

pytestmark = pytest.mark.onedl
META = dict(classes=('a', 'b', 'c'), novel_classes=('c',))


def labels(values) -> dict:
    return dict(labels=torch.tensor(values).long())


def labelled(labels) -> dict:
    return dict(labels=torch.tensor(labels).long())


def evaluate(pairs, meta=META) -> dict:
    metric = CropAccuracy()
    metric.dataset_meta = meta
    samples = [
        dict(gt_instances=labelled(labels), pred_instances=labelled(found))
        for labels, found in pairs
    ]
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_base_and_novel_apart():
    found = evaluate([([0, 1, 2], [0, 0, 2]), ([], []), ([2, 1], [0, 1])])
    assert found['crops/accuracy'] == pytest.approx(60)
    assert found['crops/base_accuracy'] == pytest.approx(200 / 3)
    assert found['crops/novel_accuracy'] == pytest.approx(50)
    assert math.isnan(evaluate([([0], [0])])['crops/novel_accuracy'])


def test_a_dataset_that_does_not_say_what_is_novel():
    with pytest.raises(ValueError, match='no novel_classes, of which CropAccuracy reports apart'):
        evaluate([([0], [0])], dict(classes=('a',)))
