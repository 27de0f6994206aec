"""What the RPN proposes, in pixels of the original image."""

import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmengine.config import ConfigDict
from small_detector import TWICE
from torch import nn

from mmdet_vild.extraction import RPNProposer

pytestmark = pytest.mark.onedl

STRETCHED = dict(type='Resize', scale=(150, 160), keep_ratio=False)
#: Without a resize, boxes are in pixels of the original image as they are.
RECOLOURED = dict(type='PhotoMetricDistortion')


@pytest.mark.parametrize('transform', [TWICE, STRETCHED, RECOLOURED], ids=lambda t: t['type'])
def test_boxes_of_the_original_image(detector, transform):
    """By mmdet's own way back to it."""
    sample, model = detector.sample(transform), detector.model
    assert ('scale_factor' in sample['data_samples'][0]) == (transform['type'] == 'Resize')
    with torch.no_grad():
        (found,) = RPNProposer().propose(model, sample['inputs'], sample['data_samples'])
        features = model.extract_feat(sample['inputs'])
        (expected,) = model.rpn_head.predict(
            features, sample['data_samples'], rescale=transform['type'] == 'Resize'
        )
    assert len(found) == 20
    limits = torch.tensor([100.0, 80, 100, 80])  # beyond which is the padding
    torch.testing.assert_close(found.bboxes, expected.bboxes.minimum(limits), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.scores, expected.scores)
    assert found.bboxes[:, 2].max() > 60  # all of the image, not its first quarter
    assert (found.scores.diff() <= 0).all()


def small_model(**rpn) -> nn.Module:
    model = nn.Module()
    model.data_preprocessor = DetDataPreprocessor([1.0, 2, 3], [4.0, 5, 6], 32, bgr_to_rgb=True)
    model.backbone, model.roi_head = nn.Linear(2, 3), nn.Linear(1, 1)
    nn.init.constant_(model.backbone.weight, 0.5)
    nn.init.constant_(model.backbone.bias, 0.25)
    nms = dict(type='nms', iou_threshold=0.7)
    model.test_cfg = ConfigDict(rpn=dict(max_per_img=300, nms=nms) | rpn)
    return model


def test_source():
    """As the release before proposers wrote it, so that its stores can be gone on with."""
    source = RPNProposer().source(small_model())
    settings = {'max_per_img': '300', 'nms': "{'type': 'nms', 'iou_threshold': 0.7}"}
    assert source == {'proposals': 'rpn@de82f0b53ed33ba0', 'rpn': settings}
    assert RPNProposer().source(small_model(max_per_img=299)) != source
    for change in ('backbone.bias', 'data_preprocessor.mean', 'data_preprocessor.std'):
        model = small_model()
        module, name = change.split('.')
        getattr(getattr(model, module), name).data.add_(0.5)
        assert RPNProposer().source(model) != source
