"""CLIP on cropped regions against a plain formula."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from small_detector import SmallDetector

from mmdet_vild.teacher import OpenCLIPTeacher

pytestmark = pytest.mark.onedl

#: In pixels of the original image; they do not overlap, so no NMS removes anything.
BOXES = torch.tensor([[5.0, 5, 30, 40], [50, 10, 90, 35], [45, 45, 95, 75]])
OBJECTNESS = torch.tensor([0.9, 0.5, 0.2])
#: What the detector itself says of three categories.
TEXT_SCORES = torch.tensor([[0.7, 0.1, 0.1], [0.2, 0.5, 0.2], [0.1, 0.1, 0.05]])
TWICE = dict(type='Resize', scale=(200, 160), keep_ratio=True)


@pytest.fixture(scope='module')
def detector(tmp_path_factory: pytest.TempPathFactory) -> SmallDetector:
    return SmallDetector(tmp_path_factory.mktemp('clip'), 'clip-on-crops')


@pytest.fixture
def fixed_boxes(detector: SmallDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector proposes and refines to ``BOXES``, in pixels of its input."""
    proposals = InstanceData(bboxes=BOXES * 2 + 1, scores=OBJECTNESS, labels=torch.zeros(3))
    regions = InstanceData(bboxes=BOXES * 2, scores=TEXT_SCORES)
    model = detector.model
    monkeypatch.setattr(model.rpn_head, 'predict', lambda *args, **kwargs: [proposals])
    monkeypatch.setattr(model.roi_head, 'predict_bbox', lambda *args, **kwargs: [regions])


@pytest.mark.parametrize('with_objectness', [True, False])
def test_scores(detector: SmallDetector, fixed_boxes, monkeypatch, with_objectness: bool) -> None:
    monkeypatch.setattr(detector.model, 'with_objectness', with_objectness)
    expected = clip_scores(detector)
    if with_objectness:
        expected = np.sqrt(expected * OBJECTNESS.numpy()[:, None])
    found = detector.predict(detector.sample(TWICE)).pred_instances
    check(found, expected)
    assert found.masks.shape == (expected.size, 80, 100)


def clip_scores(detector: SmallDetector, words: np.ndarray | None = None) -> np.ndarray:
    words = detector.text.embeddings if words is None else words
    embeddings = detector.teacher.encode_crops(detector.image, BOXES).numpy()
    temperature = detector.config.model.roi_head.bbox_head.cls_predictor_cfg.temperature
    exponentials = np.exp(embeddings @ words.T / temperature)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_own_words(detector: SmallDetector, fixed_boxes, monkeypatch) -> None:
    """Through the pipeline, as mmdet's inferencer asks for them; and what scores are made of."""
    monkeypatch.setitem(detector.model.roi_head.test_cfg, 'explain', 1)
    monkeypatch.setitem(detector.model.roi_head.test_cfg, 'with_vocabulary', False)
    found = detector.predict(detector.sample(TWICE, text=['owl', 'blue ring'])).pred_instances
    words = detector.teacher.encode_categories(
        [dict(name=name, synonyms=[name], frequency='r') for name in ('owl', 'blue ring')]
    )
    clip = clip_scores(detector, words.embeddings)
    check(found, np.sqrt(clip * OBJECTNESS.numpy()[:, None]))
    rows = torch.cdist(found.bboxes, BOXES).argmin(dim=1)
    np.testing.assert_allclose(found.image_scores, clip[rows, found.labels], atol=1e-5)
    assert torch.equal(found.objectness, OBJECTNESS[rows]) and 'text_scores' not in found
    assert found.label_names == [['owl', 'blue ring'][label] for label in found.labels]
    assert found.other_names == [[['blue ring', 'owl'][label]] for label in found.labels]


def check(found: InstanceData, expected: np.ndarray) -> None:
    """Every box and category once, with its score, in descending order."""
    assert len(found) == expected.size
    rows = torch.cdist(found.bboxes, BOXES).argmin(dim=1)
    torch.testing.assert_close(found.bboxes, BOXES[rows], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected[rows, found.labels], atol=1e-5)
    assert len(set(zip(rows.tolist(), found.labels.tolist(), strict=True))) == expected.size
    assert (found.scores.diff() <= 0).all()


@pytest.mark.parametrize('weight', [2 / 3, 1.0])
def test_vild_text_clip(detector: SmallDetector, fixed_boxes, monkeypatch, weight: float) -> None:
    """The third category is novel: there the teacher is trusted, on the others the detector."""
    other = detector.build(type='ViLDTextCLIP', with_objectness=False, ensemble_weight=weight)
    for part in ('rpn_head', 'roi_head'):
        setattr(other, part, getattr(detector.model, part))
    monkeypatch.setattr(detector, 'model', other)
    text, clip = TEXT_SCORES.numpy().astype(float), clip_scores(detector)
    expected = text**weight * clip ** (1 - weight)
    expected[:, 2] = text[:, 2] ** (1 - weight) * clip[:, 2] ** weight
    check(detector.predict(detector.sample(TWICE)).pred_instances, expected)


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_a_flipped_view_has_the_crops_of_the_picture(detector: SmallDetector, direction) -> None:
    """In pixels of the picture, which is not flipped; as --tta asks for."""
    boxes = BOXES * 2
    if direction != 'vertical':
        boxes = torch.stack([200 - boxes[:, 2], boxes[:, 1], 200 - boxes[:, 0], boxes[:, 3]], 1)
    if direction != 'horizontal':
        boxes = torch.stack([boxes[:, 0], 160 - boxes[:, 3], boxes[:, 2], 160 - boxes[:, 1]], 1)
    sample = detector.sample(TWICE)['data_samples'][0]
    sample.set_metainfo(dict(flip=True, flip_direction=direction))
    words = detector.model.text_classifier.words
    found = detector.model.crop_probabilities(boxes, sample, words)
    np.testing.assert_allclose(found.detach(), clip_scores(detector), atol=1e-5)


def test_an_impossible_ensemble_weight_is_refused(detector: SmallDetector) -> None:
    with pytest.raises(ValueError, match='a number from 0 to 1, found 1.5'):
        detector.build(type='ViLDTextCLIP', ensemble_weight=1.5)


def test_boxes_without_a_mask_head(detector: SmallDetector, fixed_boxes, monkeypatch) -> None:
    monkeypatch.setattr(type(detector.model.roi_head), 'with_mask', False)
    found = detector.predict(detector.sample(TWICE)).pred_instances
    rows = torch.cdist(found.bboxes, BOXES).argmin(dim=1)
    torch.testing.assert_close(found.bboxes, BOXES[rows], rtol=0, atol=1e-3)


def test_another_teacher_is_refused(tmp_path: Path) -> None:
    other = tmp_path / 'other.pt'
    torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), other)
    message = 'the teacher is mini-clip@.*, but mini-clip@.* encoded the vocabulary'
    with pytest.raises(ValueError, match=message):
        SmallDetector(tmp_path, 'clip-on-crops', vocabulary_by=str(other))


def test_a_pipeline_that_drops_the_original_image_is_refused(detector: SmallDetector) -> None:
    with pytest.raises(ValueError, match='has no ori_img'):
        detector.predict(detector.sample(TWICE, without='KeepOriginalImage'))
