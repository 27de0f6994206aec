"""What mmdet's OVCocoMetric says of base and novel categories, by hand."""

import json

import pytest
import torch
from annotation_files import annotations
from mmdet.registry import METRICS
from mmengine.evaluator import Evaluator

pytestmark = pytest.mark.onedl

#: The file's ids are not in the order of its names, and one of its categories is no class.
CATEGORIES = [(1, 'cat', ''), (5, 'unicorn', ''), (7, 'spoon', ''), (9, 'other', '')]
CLASSES = dict(classes=('cat', 'unicorn', 'spoon'), novel_classes=('unicorn',))
CLASSES['base_classes'] = ('cat', 'spoon')
#: As annotation_files has the first and the second box of an image.
FIRST, SECOND, ELSEWHERE = [5, 4, 17, 24], [20, 5, 32, 25], [40, 10, 52, 30]


@pytest.fixture
def evaluate(tmp_path):
    """AP50 of base and of novel categories, by annotated categories and by detections."""

    def evaluate(images: dict, detections: dict) -> list[float]:
        path = tmp_path / 'coco.json'
        path.write_text(json.dumps(annotations('coco', CATEGORIES, images)))
        metric = METRICS.build(dict(type='OVCocoMetric', ann_file=str(path), metric='bbox'))
        evaluator = Evaluator(metric)
        evaluator.dataset_meta = CLASSES
        for image in images:
            boxes, labels, scores = zip(*detections[image], strict=True)
            found = dict(
                bboxes=torch.tensor(boxes).float(),
                labels=torch.tensor(labels),
                scores=torch.tensor(scores),
            )
            sample = dict(img_id=image, ori_shape=(40, 60), pred_instances=found)
            evaluator.process([sample])
        figures = evaluator.evaluate(len(images))
        return [figures['coco/base_ap50'], figures['coco/novel_ap50']]

    return evaluate


def test_by_hand(evaluate):
    """Half of the base objects, and one of two unicorns after a false one."""
    detections = {
        # The cat, and the spoon taken for a cat: below the cat, so it costs nothing.
        1: [(FIRST, 0, 0.9), (SECOND, 0, 0.6)],
        2: [(ELSEWHERE, 1, 0.8)],
        3: [(FIRST, 1, 0.7)],
    }
    unicorn = 51 / 101 / 2  # precision 1/2 up to recall 1/2, which 51 of the 101 recalls reach
    found = evaluate({1: [1, 7], 2: [5], 3: [5]}, detections)
    assert found == pytest.approx([0.5, unicorn])  # cat 1, spoon 0


def test_generalised_setting(evaluate):
    """A unicorn that is rather called a cat costs the cats their precision."""
    images, alone = {1: [1], 2: [5]}, {1: [(FIRST, 0, 0.5)], 2: [(FIRST, 1, 0.5)]}
    assert evaluate(images, alone) == pytest.approx([1, 1])
    both = {**alone, 2: [*alone[2], (FIRST, 0, 0.9)]}
    assert evaluate(images, both) == pytest.approx([0.5, 1])
