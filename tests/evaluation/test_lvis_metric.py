"""AP, APr, APc and APf by mmdet's LVISMetric: by hand, and as the official evaluator has them."""

import json

import pytest
import torch
from lvis import LVIS, LVISEval, LVISResults
from mmdet.registry import METRICS
from mmengine.evaluator import Evaluator

import mmdet_vild  # noqa: F401 - lvis on NumPy 2

pytestmark = pytest.mark.onedl

SIZE = 100
#: id, name, frequency
CATEGORIES = [(2, 'cat', 'f'), (5, 'spoon', 'c'), (9, 'unicorn', 'r')]
CLASSES = ('cat', 'spoon', 'unicorn')
#: image: categories of its objects, those known to be absent, those not exhaustively annotated
IMAGES = {1: ([2], [5], []), 2: ([5], [], [5]), 3: ([9], [], [])}
BOX, ELSEWHERE = [10, 10, 30, 30], [60, 60, 30, 30]
#: image, label, box, score
DETECTIONS = [
    (1, 0, BOX, 0.9),
    (1, 1, BOX, 0.8),  # a spoon where there is none
    (1, 2, BOX, 0.7),  # a unicorn where nobody looked for one, which does not count
    (2, 1, BOX, 0.5),
    (2, 1, ELSEWHERE, 0.95),  # a spoon that may be there, which does not count
    (3, 2, ELSEWHERE, 0.65),  # a unicorn where there is another
    (3, 2, BOX, 0.6),
]
#: The only cat is found, and the spoon and the unicorn after a mistake.
EXPECTED = {'AP': 0.667, 'AP50': 0.667, 'APf': 1.0, 'APc': 0.5, 'APr': 0.5}


def polygon(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


@pytest.fixture
def ann_file(tmp_path) -> str:
    images = [
        dict(
            id=i,
            coco_url=f'http://images.cocodataset.org/val2017/{i:012}.jpg',
            height=SIZE,
            width=SIZE,
            neg_category_ids=absent,
            not_exhaustive_category_ids=partly,
        )
        for i, (_, absent, partly) in IMAGES.items()
    ]
    objects = [(image, category) for image, (found, *_) in IMAGES.items() for category in found]
    annotations = [
        dict(
            id=number,
            image_id=image,
            category_id=category,
            bbox=BOX,
            area=900,
            segmentation=polygon(*BOX),
        )
        for number, (image, category) in enumerate(objects, 1)
    ]
    categories = [
        dict(id=i, name=name, synonyms=[name], frequency=frequency, image_count=1, instance_count=1)
        for i, name, frequency in CATEGORIES
    ]
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return str(path)


def samples() -> list[dict]:
    result = []
    for image in IMAGES:
        found = [d for d in DETECTIONS if d[0] == image]
        masks = torch.zeros(len(found), SIZE, SIZE, dtype=torch.bool)
        for mask, (_, _, (x, y, w, h), _) in zip(masks, found, strict=True):
            mask[y : y + h, x : x + w] = True
        result.append(
            dict(
                img_id=image,
                ori_shape=(SIZE, SIZE),
                pred_instances=dict(
                    bboxes=torch.tensor([[x, y, x + w, y + h] for _, _, (x, y, w, h), _ in found]),
                    scores=torch.tensor([d[3] for d in found]),
                    labels=torch.tensor([d[1] for d in found]),
                    masks=masks,
                ),
            )
        )
    return result


def test_by_hand_and_by_the_official_evaluator(ann_file, tmp_path):
    prefix = str(tmp_path / 'results')
    config = dict(type='LVISMetric', ann_file=ann_file, metric=['bbox', 'segm'])
    evaluator = Evaluator(METRICS.build(dict(config, outfile_prefix=prefix)))
    evaluator.dataset_meta = dict(classes=CLASSES)
    evaluator.process(samples())
    found = evaluator.evaluate(len(IMAGES))
    truth = LVIS(ann_file)
    for kind in ('bbox', 'segm'):
        official = LVISEval(truth, LVISResults(truth, f'{prefix}.{kind}.json'), kind)
        official.run()
        for name, expected in EXPECTED.items():
            assert found[f'lvis/{kind}_{name}'] == expected
            assert official.results[name] == pytest.approx(expected, abs=6e-4)
        for name, value in official.results.items():
            if f'lvis/{kind}_{name}' in found:
                assert found[f'lvis/{kind}_{name}'] == pytest.approx(value, abs=6e-4)
