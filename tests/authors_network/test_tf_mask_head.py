"""The mask head of the authors, before it is trained."""

import pytest
import torch
from authors_network import model_config
from mmdet.registry import MODELS

pytestmark = pytest.mark.onedl


def test_initial_weights_of_the_deconvolution():
    cfg = model_config().roi_head.mask_head
    head = MODELS.build(dict(cfg, norm_cfg=dict(type='BN')))
    before = head.upsample[0].weight.clone()
    head.init_weights()
    weight = head.upsample[0].weight
    assert not torch.equal(weight, before) and not head.upsample[0].bias.any()
    # He initialisation, fan out: 256 channels of 2 x 2.
    assert weight.std().item() == pytest.approx((2 / (256 * 4)) ** 0.5, rel=0.02)
