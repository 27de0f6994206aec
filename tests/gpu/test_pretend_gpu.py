"""The GPU that is not there refuses and counts what a GPU refuses and waits for."""

import pytest
import torch
from pretend_gpu import PretendGPU


@pytest.fixture
def gpu():
    with PretendGPU() as gpu:
        yield gpu


def test_devices_and_results(gpu):
    x = torch.arange(6.0).view(2, 3)
    y = x.to('cuda')
    assert y.device == torch.device('cuda', 0) and y.is_cuda and not y.is_cpu and not x.is_cuda
    for other in (y[0], y.T, y + 1, y.new_zeros(2), torch.ones_like(y), y.half().detach()):
        assert other.is_cuda
    for other in (torch.zeros(2), torch.zeros_like(y, device='cpu'), y.cpu(), y.to(x)):
        assert not other.is_cuda
    assert torch.zeros(2, device='cuda').is_cuda and x.type_as(y).is_cuda
    assert y.cpu().tolist() == x.tolist()


def test_gradients_are_on_the_gpu(gpu):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).to('cuda')
    (model(torch.rand(5, 3, device='cuda')) ** 3).mean().backward()
    assert all(p.is_cuda and p.grad.is_cuda for p in model.parameters())
    assert not gpu.waits


@pytest.mark.parametrize(
    'mix',
    [
        lambda cpu, gpu: cpu + gpu,
        lambda cpu, gpu: torch.cat([gpu, cpu]),
        lambda cpu, gpu: cpu[gpu > 0],
        lambda cpu, gpu: gpu.index_put_((gpu > 0,), cpu[:1]),
        lambda cpu, gpu: torch.nn.functional.linear(gpu[None], cpu[None]),
        lambda cpu, gpu: gpu.numpy(),
    ],
)
def test_refuses(gpu, mix):
    x = torch.ones(3)
    with pytest.raises((RuntimeError, TypeError), match='device'):
        mix(x, x.to('cuda'))
    mix(x, x) if mix(x, x) is not None else None


def test_takes_numbers_and_indices_of_the_cpu(gpu):
    y = torch.ones(3, device='cuda')
    assert (y * torch.tensor(2.0)).is_cuda and y[torch.tensor([0, 2])].is_cuda
    assert sum(gpu.uploads.values()) == 1  # of the indices


@pytest.mark.parametrize(
    ('wait', 'times'),
    [
        (lambda y: y[0].item(), 1),
        (lambda y: float(y[0]) + int(y[1]), 2),
        (lambda y: bool(y.any()), 1),
        (lambda y: y.tolist(), 1),
        (lambda y: y.cpu(), 1),
        (lambda y: y.to('cpu', torch.float64), 1),
        (lambda y: y[y > 0], 1),
        (lambda y: y.nonzero(), 1),
        (lambda y: torch.where(y > 0), 1),
        (lambda y: y.unique(), 1),
        (lambda y: y.long().bincount(), 1),
        (lambda y: y.repeat_interleave(y.long()), 1),
        (lambda y: y.index_put_((y > 0,), y[1:] * 2), 1),
        (lambda y: y.masked_fill_(y > 0, 0), 0),
        (lambda y: y.index_put_((y > 0,), y[0]), 0),
        (lambda y: torch.nn.functional.one_hot(y.long(), 4), 0),
        (lambda y: (y.topk(2), y.sort(), y.cumsum(0), y.max(), y.to(torch.float16)), 0),
    ],
)
def test_counts_waits(gpu, wait, times):
    wait(torch.tensor([0.0, 1.0, 2.0], device='cuda'))
    assert sum(gpu.waits.values()) == times, gpu.waits
    assert all(__file__ in line for _, line in gpu.waits)
