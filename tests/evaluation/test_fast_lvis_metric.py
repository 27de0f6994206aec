"""The fast LVIS metric has mmdet's figures, to the last digit."""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.registry import METRICS
from mmengine.evaluator import Evaluator

from mmdet_vild.evaluation import FastLVISMetric, fast_lvis_metric

pytestmark = pytest.mark.onedl

SIZE, IMAGES, CATEGORIES = 60, 4, 7


def annotation_file(images: dict, objects: list[tuple], frequencies: str) -> dict:
    """An LVIS annotation file.

    Args:
        images: Id -> ids of categories known to be absent, and of those not all annotated.
        objects: Image id, category id and bbox.
        frequencies: Of the categories 1, 2, ...
    """
    return dict(
        images=[
            dict(id=i, coco_url=f'{i}.jpg', height=SIZE, width=SIZE, neg_category_ids=absent,
                 not_exhaustive_category_ids=partly)
            for i, (absent, partly) in images.items()
        ],
        annotations=[
            dict(id=number, image_id=image, category_id=category, bbox=[x, y, w, h], area=w * h,
                 segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]])
            for number, (image, category, (x, y, w, h)) in enumerate(objects, 1)
        ],
        categories=[
            dict(id=i, name=f'category {i}', synonyms=[], frequency=frequency, image_count=1,
                 instance_count=1)
            for i, frequency in enumerate(frequencies, 1)
        ],
    )  # fmt: skip


def world(rng: np.random.Generator, objects: int) -> dict:
    """Some categories of an image are annotated, some known to be absent."""
    images, found = {}, []
    for image in range(10, 10 * IMAGES + 1, 10):
        present, absent, _ = np.split(rng.permutation(CATEGORIES) + 1, [3, 5])
        # A part of LVIS names absent categories that it does not have.
        images[image] = [*absent.tolist(), 99], present[:1].tolist()
        for category in rng.choice(present, objects).tolist():
            box = [*rng.integers(0, 25, 2).tolist(), *rng.integers(2, 34, 2).tolist()]
            found.append((image, category, box))
    return annotation_file(images, found, 'crfcrfc')


def detections(image: int, labels=(), boxes=(), scores=()) -> dict:
    """Of an image: boxes are x, y, width and height, and masks the same."""
    boxes = torch.as_tensor(np.array(boxes, np.float32).reshape(-1, 4))
    boxes[:, 2:] += boxes[:, :2]
    masks = torch.zeros(len(boxes), SIZE, SIZE, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = True
    scores, labels = torch.tensor(scores).float(), torch.tensor(labels).long()
    found = dict(bboxes=boxes, scores=scores, labels=labels, masks=masks)
    return dict(img_id=image, ori_shape=(SIZE, SIZE), pred_instances=found)


def predictions(rng: np.random.Generator, content: dict, count: int) -> list[dict]:
    """Objects moved a little, others at random; scores with ties."""
    samples = []
    for image in content['images']:
        objects = [a for a in content['annotations'] if a['image_id'] == image['id']]
        boxes = np.array([a['bbox'] for a in objects]) + rng.integers(-3, 4, (len(objects), 4))
        others = np.hstack([rng.integers(0, 25, (count, 2)), rng.integers(2, 30, (count, 2))])
        boxes = np.concatenate([boxes, others]).clip(1)
        labels = np.r_[[a['category_id'] - 1 for a in objects], rng.integers(0, CATEGORIES, count)]
        order, scores = rng.permutation(len(boxes)), rng.integers(1, 12, len(boxes)) / 12
        samples.append(detections(image['id'], labels[order], boxes[order], scores))
    return samples


@pytest.fixture
def figures(tmp_path):
    """What a metric says of predictions."""

    def figures(kind: str, content: dict, samples: list[dict], novel=(), **options) -> dict:
        path = tmp_path / 'lvis.json'
        path.write_text(json.dumps(content))
        metric = dict(type=kind, ann_file=str(path), metric=['bbox', 'segm'])
        evaluator = Evaluator(METRICS.build({**metric, **options}))
        classes = [category['name'] for category in content['categories']]
        evaluator.dataset_meta = dict(classes=classes, novel_classes=novel)
        for sample in samples:
            evaluator.process([sample])
        return evaluator.evaluate(len(samples))

    return figures


@pytest.fixture
def check(figures):
    """That both metrics say the same, whatever it is."""

    def check(content: dict, samples: list[dict], fast: dict | None = None, **options) -> dict:
        expected = figures('LVISMetric', content, samples, **options)
        found = figures('FastLVISMetric', content, samples, **options, **(fast or {}))
        assert found.keys() == expected.keys()
        np.testing.assert_equal(list(found.values()), list(expected.values()))
        return expected

    return check


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), objects=st.integers(1, 6), count=st.integers(0, 25))
def test_same_figures(check, seed, objects, count):
    rng = np.random.default_rng(seed)
    content = world(rng, objects)
    assert len(check(content, predictions(rng, content, count))) == 18


def test_more_detections_than_count(check, figures, monkeypatch):
    """The best 300 of an image count, whichever categories they are of."""
    rng = np.random.default_rng(0)
    content = world(rng, 5)
    samples = predictions(rng, content, 600)
    expected = check(content, samples)
    monkeypatch.setattr(fast_lvis_metric, 'MAX_DETECTIONS', 700)
    assert figures('FastLVISMetric', content, samples) != expected


def test_files_hold_all_detections_and_collected_results_do_not(check, tmp_path):
    rng = np.random.default_rng(0)
    content = world(rng, 2)
    samples = predictions(rng, content, 30)
    check(content, samples, dict(outfile_prefix=str(tmp_path / 'results')))
    for kind in ('bbox', 'segm'):
        assert len(json.loads((tmp_path / f'results.{kind}.json').read_text())) == 4 * 32
    metric = FastLVISMetric(ann_file=str(tmp_path / 'lvis.json'), metric='bbox')
    metric.process({}, samples)
    assert 0 < sum(len(result['labels']) for _, result in metric.results) < 4 * 32


@pytest.mark.parametrize(
    'options', [dict(classwise=True), dict(metric='proposal'), dict(metric_items=['AP', 'APr'])]
)
def test_other_options_are_mmdets(check, options):
    rng = np.random.default_rng(0)
    content = world(rng, 3)
    check(content, predictions(rng, content, 10), **options)


def test_another_annotation_file_than_the_datasets(figures):
    content = world(np.random.default_rng(0), 2)
    with pytest.raises(ValueError, match='image 77 was tested, but .* must name the same file'):
        figures('FastLVISMetric', content, [detections(77)])


def test_nothing_detected(check, figures):
    content = world(np.random.default_rng(0), 3)
    samples = [detections(image['id']) for image in content['images']]
    assert figures('FastLVISMetric', content, samples) == {}
    # One that does not count is not nothing: no object is found.
    seen = content['images'][0]
    counting = {a['category_id'] for a in content['annotations'] if a['image_id'] == seen['id']}
    label = min({*range(1, CATEGORIES + 1)} - counting - {*seen['neg_category_ids']}) - 1
    samples[0] = detections(seen['id'], [label], [[1, 1, 20, 20]], [0.5])
    assert check(content, samples)['lvis/bbox_AP'] == 0


BOX, ELSEWHERE = [10, 10, 20, 20], [35, 35, 20, 20]
#: Image -> label, box and score.
BY_HAND = {
    1: [
        (0, BOX, 0.9),
        (1, BOX, 0.8),  # where there is none
        (2, BOX, 0.7),  # where nobody looked for one, which does not count
    ],
    2: [(1, BOX, 0.5), (1, ELSEWHERE, 0.95)],  # one that may be there, which does not count
    3: [(2, ELSEWHERE, 0.65), (2, BOX, 0.6)],  # where there is another
}


@pytest.mark.parametrize('kind', ['LVISMetric', 'FastLVISMetric'])
def test_by_hand(figures, kind):
    """The only object of category 1 is found; those of 2 and of 3 after a mistake."""
    objects = [(image, image, BOX) for image in BY_HAND]
    content = annotation_file({1: ([2], []), 2: ([], [2]), 3: ([], [])}, objects, 'fcr')
    samples = [detections(image, *zip(*found, strict=True)) for image, found in BY_HAND.items()]
    expected = {'AP': 0.667, 'AP50': 0.667, 'APf': 1.0, 'APc': 0.5, 'APr': 0.5}
    assert 'lvis/bbox_novel_AP' not in figures(kind, content, samples, ['category 3'])
    # APr stays the AP of frequency 'r', whatever is novel.
    found = figures(kind, content, samples, ['category 1', 'category 2'])
    if kind == 'FastLVISMetric':
        expected |= {'novel_AP': 0.75, 'base_AP': 0.5}
    for name, value in expected.items():
        assert found[f'lvis/bbox_{name}'] == found[f'lvis/segm_{name}'] == value


@pytest.mark.parametrize(
    ('entries', 'key', 'message'),
    [
        ('categories', 'frequency', "the category 'category 2' has the frequency None"),
        ('images', 'neg_category_ids', 'image 20 has the neg_category_ids None'),
        ('images', 'not_exhaustive_category_ids', 'image 20 has the not_exhaustive_category_ids'),
    ],
)
def test_fields_that_are_not_there(figures, entries, key, message):
    content = world(np.random.default_rng(0), 1)
    del content[entries][1][key]
    with pytest.raises(ValueError, match=f'{message}.* FastLVISMetric; it needs .* CocoMetric'):
        figures('FastLVISMetric', content, [])


def test_no_annotation_file(tmp_path):
    message = 'no annotation file at .*none.json, which FastLVIS'
    with pytest.raises(FileNotFoundError, match=message):
        METRICS.build(dict(type='FastLVISMetric', ann_file=str(tmp_path / 'none.json')))
