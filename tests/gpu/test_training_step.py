"""A training step of every variant, on a GPU that is not there."""

import copy
from contextlib import nullcontext

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from pretend_gpu import PretendGPU

pytestmark = pytest.mark.onedl

STEPS = [
    ('vild-text', None),
    ('vild-image', None),
    ('vild', None),
    ('vild-ensemble', None),
    ('vild', torch.bfloat16),
    ('vild-ensemble', torch.float16),
]


def step(model, batch, device, precision=nullcontext):
    """The losses, and the parameters after the step."""
    model, batch = copy.deepcopy(model).to(device).train(), copy.deepcopy(batch)
    optimizer = build_optim_wrapper(
        model,
        dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9), clip_grad=dict(max_norm=1.0)),
    )
    torch.manual_seed(0)
    with precision():
        losses = model.train_step(batch, optimizer)
    assert all(p.device.type == device for p in model.parameters())
    losses = {name: value.detach().to('cpu') for name, value in losses.items()}
    return losses, {name: value.to('cpu') for name, value in model.state_dict().items()}


@pytest.mark.parametrize(('variant', 'amp'), STEPS, ids=str)
def test_training_step(small, training_batch, variant, amp):
    """It computes what a CPU computes, and none of our lines lets the host wait."""
    detector = small(variant)
    model, batch = detector.build(), training_batch(detector)
    expected = step(model, batch, 'cpu', lambda: torch.autocast('cpu', amp, bool(amp)))
    with PretendGPU() as gpu:
        found = step(model, batch, 'cuda', lambda: torch.autocast('cuda', amp, bool(amp)))
    assert ('loss_distill' in found[0]) == (variant != 'vild-text')
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert gpu.waits and not gpu.ours()
