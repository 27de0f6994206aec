"""The RPN of the authors: its anchors, and as many proposals as are asked for."""

import pytest
import torch
from authors_network import model_config
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

pytestmark = pytest.mark.onedl


@pytest.fixture(scope='module')
def head():
    cfg = model_config()
    norm, test_cfg = dict(type='BN'), cfg.test_cfg.rpn
    head = MODELS.build(dict(cfg.rpn_head, norm_cfg=norm, test_cfg=test_cfg))
    head.init_weights()
    return head.eval()


def test_missing_proposals_are_empty_boxes(head):
    """As many as max_per_img says, but not in training, where they would be sampled."""
    maps = [torch.randn(1, head.in_channels, 16 // s, 16 // s) for s in (1, 2, 4, 8, 16)]
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64)))
    with torch.no_grad():
        for padded in (True, False):
            head.training = not padded  # the head alone: norms need more than a pixel
            (found,) = head.predict(maps, [sample], rescale=False)
            count = int((found.scores > 0).sum())
            assert 10 < count < 1000
            assert len(found) == len(found.labels) == (1000 if padded else count)
            assert not found.bboxes[count:].any() and found.labels.dtype == torch.int64


def test_anchors(head):
    """8 strides wide for a square, ratios of width to height 1, 2 and 0.5, at cell centres."""
    anchors = head.prior_generator.grid_priors([(2, 3)] * 5, device='cpu')
    for stride, found in zip((4, 8, 16, 32, 64), anchors, strict=True):
        expected = [
            [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
            for y in (stride / 2, stride * 1.5)
            for x in (stride / 2, stride * 1.5, stride * 2.5)
            for w, h in [(8 * stride * r**0.5, 8 * stride / r**0.5) for r in (1, 2, 0.5)]
        ]
        torch.testing.assert_close(found, torch.tensor(expected))
