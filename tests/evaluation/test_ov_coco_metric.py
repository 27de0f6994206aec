"""What mmdet's OVCocoMetric says of base and novel categories, against formulas."""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.registry import METRICS
from mmengine.evaluator import Evaluator

pytestmark = pytest.mark.onedl

#: The file's ids are not in the order of its names, and one of its categories is no class.
CATEGORIES = [(1, 'cat'), (5, 'unicorn'), (7, 'spoon'), (9, 'other'), (12, 'griffin')]
CLASSES, NOVEL = ('cat', 'unicorn', 'spoon', 'griffin'), ('unicorn', 'griffin')
IDS = [1, 5, 7, 12]
SIZE = 100


def square(x, y, size):
    return [x, y, x + size, y, x + size, y + size, x, y + size]


@pytest.fixture
def build(tmp_path):
    """A metric on annotations ``[(image, category id, x, y, size), ...]``."""

    def build(annotations):
        path = tmp_path / 'coco.json'
        images = [dict(id=i, file_name=f'{i}.jpg', height=SIZE, width=SIZE) for i in (1, 2, 3)]
        boxes = [
            dict(
                id=number,
                image_id=image,
                category_id=category,
                bbox=[x, y, size, size],
                area=size * size,
                iscrowd=0,
                segmentation=[square(x, y, size)],
            )
            for number, (image, category, x, y, size) in enumerate(annotations, 1)
        ]
        categories = [dict(id=i, name=name) for i, name in CATEGORIES]
        path.write_text(json.dumps(dict(images=images, annotations=boxes, categories=categories)))
        evaluator = Evaluator(METRICS.build(dict(type='OVCocoMetric', ann_file=str(path))))
        base = tuple(name for name in CLASSES if name not in NOVEL)
        evaluator.dataset_meta = dict(classes=CLASSES, novel_classes=NOVEL, base_classes=base)
        return evaluator

    return build


def samples(detections):
    """Samples of detections ``[(image, label, x, y, size, score), ...]``, squares as masks."""
    result = []
    for image in (1, 2, 3):
        found = [d for d in detections if d[0] == image]
        boxes = torch.tensor([[x, y, x + s, y + s] for _, _, x, y, s, _ in found]).view(-1, 4)
        masks = torch.zeros(len(found), SIZE, SIZE, dtype=torch.bool)
        for mask, (_, _, x, y, s, _) in zip(masks, found, strict=True):
            mask[y : y + s, x : x + s] = True
        result.append(
            dict(
                img_id=image,
                ori_shape=(SIZE, SIZE),
                pred_instances=dict(
                    bboxes=boxes.float(),
                    scores=torch.tensor([d[5] for d in found], dtype=torch.float64),
                    labels=torch.tensor([d[1] for d in found], dtype=torch.long),
                    masks=masks,
                ),
            )
        )
    return result


def evaluate(evaluator, detections):
    evaluator.process(samples(detections))
    return evaluator.evaluate(3)


def test_by_hand(build):
    """Half of the base objects, and one of two unicorns after a false one."""
    truth = [(1, 1, 0, 0, 20), (1, 7, 50, 50, 20), (2, 5, 10, 10, 30), (3, 5, 10, 10, 30)]
    detections = [
        (1, 0, 0, 0, 20, 0.9),  # the cat
        (2, 1, 60, 60, 30, 0.8),  # no unicorn
        (2, 1, 10, 10, 30, 0.7),  # a unicorn: precision 1/2 up to recall 1/2
        (1, 0, 50, 50, 20, 0.6),  # the spoon taken for a cat: below the cat, so it costs nothing
    ]
    found = evaluate(build(truth), detections)
    unicorn = 51 / 101 / 2  # 51 of the 101 recalls reach 1/2
    assert found['coco/base_ap50'] == pytest.approx(0.5)  # cat 1, spoon 0
    assert found['coco/novel_ap50'] == pytest.approx(unicorn)  # no griffin is annotated
    assert found['coco/bbox_mAP_50'] == round((1 + 0 + unicorn) / 3, 3)


def test_generalised_setting(build):
    """A unicorn that is rather called a cat costs the cats their precision."""
    truth = [(1, 1, 0, 0, 20), (2, 5, 10, 10, 30)]
    alone = [(1, 0, 0, 0, 20, 0.5), (2, 1, 10, 10, 30, 0.5)]
    found = evaluate(build(truth), alone)
    assert [found['coco/base_ap50'], found['coco/novel_ap50']] == pytest.approx([1, 1])
    found = evaluate(build(truth), [*alone, (2, 0, 10, 10, 30, 0.9)])
    assert [found['coco/base_ap50'], found['coco/novel_ap50']] == pytest.approx([0.5, 1])


def ap50(truth, detections, category_id, label):
    """AP at an IoU of 0.5, interpolated at 101 recalls, in float64."""
    left = [t for t in truth if t[1] == category_id]
    total, hits = len(left), []
    if not total:
        return None
    for image, _, x, y, size, _ in sorted(
        (d for d in detections if d[1] == label), key=lambda d: -d[5]
    ):
        ious = []
        for _, _, tx, ty, tsize in (same := [t for t in left if t[0] == image]):
            w = min(x + size, tx + tsize) - max(x, tx)
            h = min(y + size, ty + tsize) - max(y, ty)
            inter = max(w, 0) * max(h, 0)
            ious.append(inter / (size**2 + tsize**2 - inter))
        hits.append(bool(ious) and max(ious) >= 0.5)
        if hits[-1]:
            left.remove(same[int(np.argmax(ious))])
    recall = np.cumsum(hits) / total
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    at = [precision[recall >= r - 1e-12].max(initial=0) for r in np.linspace(0, 1, 101)]
    return float(np.mean(at))


PLACE = st.tuples(st.integers(1, 3), st.sampled_from(range(4)), *[st.integers(0, 3)] * 2)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    truth=st.lists(PLACE, min_size=1, max_size=8, unique_by=lambda t: (t[0], *t[2:])),
    detections=st.lists(st.tuples(PLACE, st.integers(0, 6)), min_size=1, max_size=12),
)
def test_against_a_formula(build, truth, detections):
    """Squares on a grid, detections moved by up to 6 pixels, all with other scores."""
    truth = [(image, IDS[label], 25 * x, 25 * y, 18) for image, label, x, y in truth]
    detections = [
        (image, label, 25 * x + shift, 25 * y, 18, 1 / (rank + 1))
        for rank, ((image, label, x, y), shift) in enumerate(detections)
    ]
    found = evaluate(build(truth), detections)
    expected = [ap50(truth, detections, i, label) for label, i in enumerate(IDS)]
    names = {'base_ap50': (0, 2), 'novel_ap50': (1, 3), 'bbox_mAP_50': range(4)}
    for name, labels in names.items():
        aps = [expected[label] for label in labels if expected[label] is not None]
        # mmdet rounds the last one.
        assert found[f'coco/{name}'] == pytest.approx(np.mean(aps) if aps else -1, abs=6e-4)
