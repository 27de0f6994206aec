"""The tuning of a teacher, on a GPU that is not there."""

import copy
from contextlib import nullcontext

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from pretend_gpu import PretendGPU

pytestmark = pytest.mark.onedl

#: Labels and weights of a batch to the GPU, however many images it has.
TRAINING = 2


@pytest.fixture(scope='module')
def tuner(small):
    model = small('vild').config.model
    teacher = ConfigDict(model.teacher, crop_mode='pad_black', crop_scales=(1.2,), min_side=10)
    words = model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings
    cfg = dict(type='TeacherTuner', teacher=teacher, text_embeddings=words, size_weighted=True)
    return MODELS.build(cfg)


@pytest.fixture
def batch(small) -> dict:
    image, samples = torch.from_numpy(small('vild').image).permute(2, 0, 1), []
    for boxes, labels in (
        ([[5.0, 5, 60, 50], [10, 20, 14, 26]], [0, 1]),
        ([[20.0, 10, 45, 60]], [1]),
    ):
        instances = InstanceData(bboxes=torch.tensor(boxes), labels=torch.tensor(labels))
        samples.append(DetDataSample(gt_instances=instances))
    return dict(inputs=[image, image[:, :70]], data_samples=samples)


def step(tuner, batch, device: str, precision=nullcontext, wrapper='OptimWrapper', gpu=None):
    """The loss, what was learned in a step, how sure names then are, and our waits in both."""
    model = copy.deepcopy(tuner).to(device).train()
    # Gradients are large at the scale of CLIP's logits.
    optimizer = dict(type=wrapper, optimizer=dict(type='SGD', lr=0.1), clip_grad=dict(max_norm=1))
    optimizer = build_optim_wrapper(model, optimizer)
    waits = []
    model.teacher.to(device)  # as the first step does
    if gpu:
        gpu.waits.clear(), gpu.uploads.clear()
    with precision():
        losses = model.train_step(copy.deepcopy(batch), optimizer)
    if gpu:
        waits.append(sum(gpu.ours().values()))
        gpu.waits.clear(), gpu.uploads.clear()
    found = model.val_step(copy.deepcopy(batch))
    if gpu:
        waits.append(sum(gpu.ours().values()))
    scores = torch.cat([sample.pred_instances.scores for sample in found])
    learned = torch.cat([value.detach() for value in model.parameters() if value.requires_grad])
    assert learned.device.type == scores.device.type == device
    return losses['loss'].detach().to('cpu'), learned.to('cpu'), scores.to('cpu'), waits


@pytest.mark.parametrize('amp', [None, torch.bfloat16], ids=str)
def test_a_step(tuner, batch, amp):
    """It computes what a CPU computes; pictures stay where they are, and names wait for nothing."""
    expected = step(tuner, batch, 'cpu', lambda: torch.autocast('cpu', amp, bool(amp)))
    with PretendGPU() as gpu:
        found = step(tuner, batch, 'cuda', lambda: torch.autocast('cuda', amp, bool(amp)), gpu=gpu)
    check(found, expected, tuner)
    assert found[3][0] <= TRAINING and found[3][1] == 0, gpu.ours()


def test_amp_of_the_train_tool(tuner, batch, monkeypatch):
    """``--amp``: MMEngine's wrapper scales the loss, in half precision."""
    monkeypatch.setattr('mmengine.runner.amp.get_device', lambda: 'cuda')
    expected = step(tuner, batch, 'cpu')
    with PretendGPU():
        found = step(tuner, batch, 'cuda', wrapper='AmpOptimWrapper')
    assert not torch.equal(found[0], expected[0])  # it was in half precision
    check(found, expected, tuner)


def check(found, expected, tuner) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=0.05, atol=0.02)
    before = torch.cat([value.detach() for value in tuner.parameters() if value.requires_grad])
    moved = [each[1] - before for each in (found, expected)]
    assert moved[1].abs().max() > 1e-3
    assert torch.cosine_similarity(*moved, dim=0) > 0.95
    torch.testing.assert_close(found[2], expected[2], rtol=0, atol=0.05)
