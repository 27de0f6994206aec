"""Coordinates under mixed precision, in an image of 1024 pixels."""

import math

import pytest
import torch
from small_models import SHAPES

pytestmark = pytest.mark.onedl

SIZE = 1024


@pytest.fixture
def detector(mini_detector):
    return mini_detector.eval()


@pytest.fixture
def seen(detector):
    """The RoIs and features that the RoIAlign of boxes is given."""
    seen = []
    for layer in detector.roi_head.bbox_roi_extractor.roi_layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    return seen


def test_anchors_are_not_rounded(detector, make_sample):
    """Where the RPN moves none of them, its proposals are anchors, of whole pixels."""
    torch.nn.init.zeros_(detector.rpn_head.rpn_reg.weight)
    sample = make_sample()
    sample.set_metainfo(dict(img_shape=(SIZE, SIZE)))
    found = []
    with torch.no_grad():
        for enabled in (False, True):
            with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
                features = detector.extract_feat(torch.zeros(1, 3, SIZE, SIZE))
                outputs = detector.rpn_head(features)
                (proposals,) = detector.rpn_head.predict_by_feat(
                    *outputs, batch_img_metas=[sample.metainfo]
                )
            assert proposals.bboxes.dtype == torch.float32
            found.append(proposals.bboxes)
    generator, sizes = detector.rpn_head.prior_generator, [o.shape[-2:] for o in outputs[0]]
    anchors = torch.cat(generator.grid_priors(sizes, device='cpu')).clamp(0, SIZE)
    for boxes in found:
        apart = torch.cdist(boxes, anchors, p=math.inf).min(dim=1).values
        assert len(boxes) > 20 and apart.max() < 1e-3


@pytest.mark.parametrize('training', [False, True])
def test_rois_are_not_rounded(detector, seen, make_sample, training):
    torch.manual_seed(1)
    sample = make_sample()
    sample.set_metainfo(dict.fromkeys(SHAPES, (SIZE, SIZE)))
    boxes = torch.tensor([[701.3, 650.7, 709.9, 671.1], [901.6, 33.3, 1001.7, 77.7]])
    sample.gt_instances = sample.gt_instances[:2]
    sample.gt_instances.bboxes = boxes
    sample.gt_instances.masks = sample.gt_instances.masks.pad((SIZE, SIZE))
    sample.distill_instances = sample.distill_instances[:2]
    sample.distill_instances.bboxes = boxes + 0.6
    with torch.autocast('cpu', torch.bfloat16):
        if training:
            detector.loss(torch.randn(1, 3, SIZE, SIZE), [sample])
            wanted = torch.cat([boxes, boxes + 0.6])
        else:
            sample.proposals = type(sample.gt_instances)(bboxes=boxes)
            with torch.no_grad():
                detector.predict(torch.randn(1, 3, SIZE, SIZE), [sample])
            wanted = boxes
    rois = torch.cat([rois for _, rois in seen])[:, 1:]
    assert rois.dtype == torch.float32
    assert {features.dtype for features, _ in seen} == {torch.float32}
    assert {tuple(box) for box in wanted.tolist()} <= {tuple(box) for box in rois.tolist()}
