"""The teacher's word on the best boxes, against a plain formula."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from small_detector import SmallDetector
from torch.nn.functional import pad

from mmdet_vild.models import lazy_detections

pytestmark = pytest.mark.onedl

#: In pixels of the original image: three objects, and a worse box around the first one.
BOXES = torch.tensor([[6.0, 6, 31, 40], [5, 5, 30, 40], [50, 10, 90, 35], [45, 45, 95, 75]])
OBJECTNESS = torch.tensor([0.8, 0.9, 0.5, 0.2])
IOUS = torch.tensor([0.3, 0.6, 0.7, 0.4])
#: What the detector says of three categories, of which the last is novel.
SCORES = torch.tensor([[0.6, 0.05, 0.1], [0.7, 0.1, 0.12], [0.2, 0.5, 0.2], [0.1, 0.1, 0.05]])
TWICE = dict(type='Resize', scale=(200, 160), keep_ratio=True)


@pytest.fixture(scope='module')
def detector(tmp_path_factory: pytest.TempPathFactory) -> SmallDetector:
    return SmallDetector(tmp_path_factory.mktemp('clip'), 'clip-on-crops')


@pytest.fixture
def detect(detector: SmallDetector, monkeypatch: pytest.MonkeyPatch):
    """Detects with these boxes and scores; counts the crops of each image."""
    proposed = InstanceData(bboxes=BOXES * 2 + 1, scores=OBJECTNESS, labels=torch.zeros(4))

    def run(explain: int | None = None, words: list | None = None, scores=SCORES, **options):
        regions = InstanceData(bboxes=BOXES * 2, scores=scores, iou_scores=IOUS)
        options = dict(type='TeacherScoredViLD', with_objectness=False) | options
        model = detector.build(**options)
        monkeypatch.setattr(model.rpn_head, 'predict', lambda *args, **kwargs: [proposed])
        monkeypatch.setattr(model.roi_head, 'predict_bbox', lambda *args, **kwargs: [regions])
        model.roi_head.test_cfg.explain = explain
        embed, run.crops = model.teacher.embed_regions, []
        model.teacher.embed_regions = lambda images, boxes: (
            run.crops.extend(map(len, boxes)) or embed(images, boxes)
        )
        asked = {} if words is None else dict(text=words)
        return detector.predict(detector.sample(TWICE, **asked), model).pred_instances

    return run


def teacher_scores(
    detector: SmallDetector, temperature: float | None = None, rows: np.ndarray | None = None
) -> np.ndarray:
    rows = detector.text.embeddings if rows is None else rows
    embeddings = detector.teacher.encode_crops(detector.image, BOXES).double().numpy()
    classifier = detector.config.model.roi_head.bbox_head.cls_predictor_cfg
    tau = temperature or classifier.temperature
    exponentials = np.exp(embeddings @ rows.T / tau)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def check(found: InstanceData, expected: np.ndarray, rows: list[int], words: int = 3) -> None:
    """Boxes of these rows with all words, each once, but for what NMS drops."""
    found_rows = torch.cdist(found.bboxes, BOXES).argmin(dim=1)
    torch.testing.assert_close(found.bboxes, BOXES[found_rows], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected[found_rows, found.labels], atol=1e-5)
    pairs = set(zip(found_rows.tolist(), found.labels.tolist(), strict=True))
    assert len(pairs) == len(found) and (found.scores.diff() <= 0).all()
    assert pairs == {(row, label) for row in rows for label in range(words)}


def test_scores(detect, detector: SmallDetector) -> None:
    """Of the two best boxes both have their word, of the third the detector alone."""
    clip, scores = teacher_scores(detector), SCORES.double().numpy()
    expected = scores.copy()
    for row in (1, 2):
        expected[row, :2] = scores[row, :2] ** 0.7 * clip[row, :2] ** 0.3
        expected[row, 2] = scores[row, 2] ** 0.2 * clip[row, 2] ** 0.8
    check(detect(best=2, base_weight=0.3, novel_weight=0.8), expected, [1, 2, 3])
    assert detect.crops == [2]
    with_objectness = np.sqrt(expected * OBJECTNESS.double().numpy()[:, None])
    options = dict(best=2, base_weight=0.3, novel_weight=0.8, with_objectness=True)
    check(detect(**options), with_objectness, [1, 2, 3])


def test_what_scores_are_made_of(detect, detector: SmallDetector) -> None:
    found = detect(explain=1, best=2)
    rows = torch.cdist(found.bboxes, BOXES).argmin(dim=1)
    assert torch.equal(found.text_scores, SCORES[rows, found.labels])
    clip = teacher_scores(detector)[rows, found.labels]
    clip[rows.numpy() == 3] = np.nan  # nobody asked the teacher
    np.testing.assert_allclose(found.image_scores, clip, atol=1e-5)
    assert torch.equal(found.objectness, OBJECTNESS[rows])
    assert torch.equal(found.iou_scores, IOUS[rows])


def test_ious_of_clip_on_crops(detect) -> None:
    found = detect(type='CLIPOnCrops', explain=1)
    rows = torch.cdist(found.bboxes, BOXES).argmin(dim=1)
    assert len(found) and torch.equal(found.iou_scores, IOUS[rows])
    assert 'iou_scores' not in detect(type='CLIPOnCrops')


def test_words_that_are_asked_for(detect, detector: SmallDetector) -> None:
    """The vocabulary's words compete with them, in the teacher's softmax too, and choose no box."""
    names, novel = ['owl', 'blue ring', 'red circle', 'red heart'], [True, False, False, True]
    scores = torch.cat([SCORES[:, :2], torch.tensor([[0.0, 0], [0, 0], [0, 0], [0.9, 0.9]])], dim=1)
    found = detect(words=names[:2], scores=scores, best=2, base_weight=0.3, novel_weight=0.8)
    words = [dict(name=name, synonyms=[name], frequency='r') for name in names]
    text = detector.teacher.encode_categories(words)
    clip = teacher_scores(detector, rows=text.embeddings)
    expected = scores.double().numpy()[:, :2].copy()
    for row in (1, 2):
        for word in range(2):
            a = 0.8 if novel[word] else 0.3
            expected[row, word] = expected[row, word] ** (1 - a) * clip[row, word] ** a
    check(found, expected, [1, 2, 3], words=2)
    assert found.label_names == [names[label] for label in found.labels]


@pytest.mark.parametrize('options', [dict(best=0), dict(best=3, base_weight=0, novel_weight=0)])
def test_without_a_word_of_the_teacher_it_is_the_detector(detect, detector, options) -> None:
    """Bit for bit, though boxes go through NMS twice."""
    found = detect(**options)
    cfg = detector.model.roi_head.test_cfg
    expected, _ = lazy_detections(BOXES * 2, pad(SCORES, (0, 1)), cfg)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(found.bboxes, expected.bboxes / 2, rtol=0, atol=1e-5)


def test_a_learned_temperature_is_not_the_teachers(detect, detector, monkeypatch) -> None:
    head = detector.config.model.roi_head.bbox_head
    monkeypatch.setitem(head.cls_predictor_cfg, 'learned_temperature', True)
    model = detector.build()
    model.text_classifier.logit_scale.data += 1.5
    sample = detector.sample(TWICE)['data_samples'][0]
    found = model.crop_probabilities(BOXES * 2, sample, model.text_classifier.words)
    np.testing.assert_allclose(found.detach(), teacher_scores(detector), atol=1e-5)


@pytest.mark.parametrize('options', [dict(best=-1), dict(base_weight=1.5), dict(novel_weight=-1)])
def test_refused_options(detector: SmallDetector, options: dict) -> None:
    with pytest.raises(ValueError, match=f'{next(iter(options))} of TeacherScoredViLD must be'):
        detector.build(type='TeacherScoredViLD', **options)


def test_objectness_twice_is_refused(detector: SmallDetector) -> None:
    twice = dict(with_objectness=True, test_cfg=dict(rcnn=dict(objectness_weight=0.2)))
    for kind in ('TeacherScoredViLD', 'CLIPOnCrops'):
        with pytest.raises(ValueError, match=f'{kind} has objectness in its scores .* twice'):
            detector.build(type=kind, **twice)
    detector.build(type='TeacherScoredViLD', **dict(twice, with_objectness=False))


def test_a_pipeline_that_drops_the_original_image_is_refused(detector: SmallDetector) -> None:
    model = detector.build(type='TeacherScoredViLD')
    with pytest.raises(ValueError, match='has no ori_img'):
        detector.predict(detector.sample(TWICE, without='KeepOriginalImage'), model)
