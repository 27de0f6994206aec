"""Coordinates under mixed precision, in an image of 1024 pixels."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from small_models import CATEGORIES

from mmdet_vild import config_path

pytestmark = pytest.mark.onedl

SIZE = 1024


@pytest.fixture
def detector(write_text):
    config = Config.fromfile(config_path('mini_lvis/vild_r18-mini_fpn_mini-lvis.py')).model
    config.roi_head.bbox_head.num_classes = config.roi_head.mask_head.num_classes = CATEGORIES
    config.roi_head.bbox_head.cls_predictor_cfg.text_embeddings = write_text()
    torch.manual_seed(0)
    detector = MODELS.build(config)
    detector.init_weights()
    return detector.eval()


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
            found.append({tuple(box) for box in proposals.bboxes.tolist()})
    anchors = torch.cat(
        detector.rpn_head.prior_generator.grid_priors(
            [o.shape[-2:] for o in outputs[0]], device='cpu'
        )
    )
    anchors = {tuple(box) for box in anchors.clamp(0, SIZE).tolist()}
    assert len(found[1]) > 20 and found[1] <= anchors and found[0] <= anchors


@pytest.mark.parametrize('training', [False, True])
def test_rois_are_not_rounded(detector, seen, make_sample, training):
    torch.manual_seed(1)
    sample = make_sample()
    shapes = dict.fromkeys(
        ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), (SIZE, SIZE)
    )
    sample.set_metainfo(shapes)
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
