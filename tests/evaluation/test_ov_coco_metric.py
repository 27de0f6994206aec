"""What mmdet's OVCocoMetric says of base and novel categories, by hand."""

import json

import pytest
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import Evaluator

pytestmark = pytest.mark.onedl

#: The file's ids are not in the order of its names, and one of its categories is no class.
CATEGORIES = [(1, 'cat'), (5, 'unicorn'), (7, 'spoon'), (9, 'other'), (12, 'griffin')]
CLASSES, NOVEL = ('cat', 'unicorn', 'spoon', 'griffin'), ('unicorn', 'griffin')
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
