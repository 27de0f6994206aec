"""Annotated boxes of base categories are regions; those of novel ones are not looked at."""

from types import SimpleNamespace

import pytest
import torch
from small_detector import TWICE

from mmdet_vild.extraction import GroundTruthProposer

pytestmark = pytest.mark.onedl

MODEL = SimpleNamespace(dataset_meta=dict(classes=('a', 'b', 'c'), novel_classes=('c',)))
BOXES = [[10.0, 20, 30, 40], [5, 5, 50, 60], [0, 0, 90, 70], [1, 1, 99, 79]]


def test_base_boxes_of_the_original_image(detector):
    """Label 2 is novel, the last box a crowd."""
    instances = [
        dict(bbox=box, bbox_label=label, ignore_flag=crowd)
        for box, label, crowd in zip(BOXES, (1, 2, 0, 0), (0, 0, 0, 1), strict=True)
    ]
    samples = detector.sample(TWICE, instances=instances)['data_samples']
    (found,) = GroundTruthProposer().propose(MODEL, None, samples)
    torch.testing.assert_close(found.bboxes, torch.tensor(BOXES)[[0, 2]], rtol=0, atol=0)
    assert found.scores.tolist() == [1, 1]


def test_source():
    """As the release before proposers wrote it, so that its stores can be gone on with."""
    assert GroundTruthProposer().source(MODEL) == {'with_gt': 'base@cf7605ed1bc735f6'}
    other = SimpleNamespace(dataset_meta=MODEL.dataset_meta | dict(novel_classes=()))
    assert GroundTruthProposer().source(other) != GroundTruthProposer().source(MODEL)


@pytest.mark.parametrize('meta', [None, dict(classes=('a', 'b', 'c'))])
def test_a_dataset_that_does_not_say_what_is_novel(meta):
    with pytest.raises(ValueError, match='no novel_classes; take OpenVocabularyLVISDataset'):
        GroundTruthProposer().source(SimpleNamespace(dataset_meta=meta))


def test_a_pipeline_that_passes_no_annotations_on(detector):
    with pytest.raises(ValueError, match='picture.png has no ori_gt_bboxes, .*KeepOriginalImage'):
        GroundTruthProposer().propose(MODEL, None, detector.sample(TWICE)['data_samples'])
