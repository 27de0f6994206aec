"""A training step on a GPU computes what it computes on a CPU."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from small_models import SIZE

pytestmark = [pytest.mark.onedl, pytest.mark.gpu]


@pytest.mark.parametrize('variant', ['text', 'image', 'vild', 'ensemble'])
def test_training_step(roi_head_cfg, make_sample, variant):
    torch.manual_seed(0)
    head = MODELS.build(ConfigDict(roi_head_cfg(variant)))
    head.init_weights()
    features = [torch.randn(2, 8, SIZE // stride, SIZE // stride) for stride in (4, 8)]
    start = torch.rand(2, 20, 2) * SIZE * 0.6
    boxes = torch.cat([start, start + 20], dim=2)
    samples = [make_sample(3, 5), make_sample(2, 4)]

    def step(device: str) -> tuple[dict, dict]:
        """The losses, and the gradients of all parameters."""
        torch.manual_seed(1)  # mmdet's sampler draws on the CPU
        model = copy.deepcopy(head).to(device)
        losses = model.loss(
            [feature.to(device) for feature in features],
            [InstanceData(bboxes=each.to(device)) for each in boxes],
            [sample.to(device) for sample in samples],
        )
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        gradients = {name: p.grad.cpu() for name, p in model.named_parameters()}
        return {name: value.detach().cpu() for name, value in losses.items()}, gradients

    expected_losses, expected_gradients = step('cpu')
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        losses, gradients = step('cuda')
    torch.testing.assert_close(losses, expected_losses, rtol=1e-4, atol=1e-5)
    for name, expected in expected_gradients.items():
        tolerance = 1e-3 * expected.abs().max().item() + 1e-6
        torch.testing.assert_close(gradients[name], expected, rtol=0, atol=tolerance)
