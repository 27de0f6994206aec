"""The extractor's records belong to the original image."""

import pytest
import torch
from small_detector import SmallDetector

pytestmark = pytest.mark.onedl

TWICE = dict(type='Resize', scale=(200, 160), keep_ratio=True)
STRETCHED = dict(type='Resize', scale=(150, 160), keep_ratio=False)


@pytest.fixture(scope='module')
def detector(tmp_path_factory: pytest.TempPathFactory) -> SmallDetector:
    return SmallDetector(tmp_path_factory.mktemp('extractor'), 'region-embeddings')


@pytest.mark.parametrize('resize', [TWICE, STRETCHED])
def test_embeds_the_original_image(detector: SmallDetector, resize: dict) -> None:
    sample = detector.sample(resize)
    found = detector.predict(sample)
    regions = found.pred_instances
    assert len(regions) == 32
    assert found.embedding_teacher == detector.teacher.identity

    # The same boxes by mmdet's own way back to the original image.
    model = detector.model
    with torch.no_grad():
        features = model.extract_feat(sample['inputs'])
        (expected,) = model.rpn_head.predict(features, sample['data_samples'], rescale=True)
    torch.testing.assert_close(regions.bboxes, expected.bboxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(regions.scores, expected.scores)
    assert regions.bboxes[:, 2].max() > 60  # all of the image, not its first quarter
    assert regions.bboxes[:, 2].max() <= 100 and regions.bboxes[:, 3].max() <= 80
    assert (regions.scores.diff() <= 0).all()

    embeddings = detector.teacher.encode_crops(detector.image, regions.bboxes)
    torch.testing.assert_close(regions.embeddings, embeddings, rtol=0, atol=1e-5)
    in_network_pixels = regions.bboxes * torch.tensor(found.scale_factor).repeat(2)
    others = detector.teacher.encode_crops(detector.image, in_network_pixels)
    assert (others - embeddings).abs().max() > 1e-3  # it would have shown


def test_a_pipeline_that_drops_the_original_image_is_refused(detector: SmallDetector) -> None:
    sample = detector.sample(TWICE, without='KeepOriginalImage')
    with pytest.raises(ValueError, match='picture.png has no ori_img; put KeepOriginalImage after'):
        detector.predict(sample)


def test_an_image_without_proposals(detector: SmallDetector, monkeypatch) -> None:
    sample = detector.sample(TWICE)
    predict = detector.model.rpn_head.predict
    monkeypatch.setattr(
        detector.model.rpn_head, 'predict', lambda *a, **k: [r[:0] for r in predict(*a, **k)]
    )
    regions = detector.predict(sample).pred_instances
    assert regions.bboxes.shape == (0, 4)
    assert regions.embeddings.shape == (0, detector.teacher.embed_dims)


def test_the_teacher_is_no_part_of_a_checkpoint(detector: SmallDetector) -> None:
    assert not [key for key in detector.model.state_dict() if key.startswith('teacher')]
