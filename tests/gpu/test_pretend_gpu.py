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


WAITS = [
    *(lambda y: y[0].item(), lambda y: bool(y.any()), lambda y: y.tolist(), lambda y: y.cpu()),
    *(lambda y: y.to('cpu', torch.float64), lambda y: y[y > 0], lambda y: y.nonzero()),
    *(lambda y: torch.where(y > 0), lambda y: y.unique(), lambda y: y.long().bincount()),
    *(lambda y: y.repeat_interleave(y.long()), lambda y: y.index_put_((y > 0,), y[1:] * 2)),
]
WAITS_NOT = [
    *(lambda y: y.masked_fill_(y > 0, 0), lambda y: y.index_put_((y > 0,), y[0])),
    *(lambda y: torch.nn.functional.one_hot(y.long(), 4), lambda y: y * torch.tensor(2.0)),
    lambda y: (y.topk(2), y.sort(), y.cumsum(0), y.max(), y.to(torch.float16)),
]


@pytest.mark.parametrize('wait', WAITS + WAITS_NOT)
def test_counts_waits(gpu, wait):
    y = torch.tensor([0.0, 1.0, 2.0], device='cuda')
    assert sum(gpu.uploads.values()) == 1
    wait(y)
    assert sum(gpu.waits.values()) == (wait in WAITS), gpu.waits
    assert all(__file__ in line for _, line in gpu.waits)
    assert y[torch.tensor([0, 2])].is_cuda and sum(gpu.uploads.values()) == 2  # the indices


def test_what_may_not_have_arrived(gpu):
    """Its bytes may be used after an event that was recorded later than its copy."""
    early = torch.cuda.Event()
    early.record()
    there = torch.arange(6.0).to('cuda').to('cpu', non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    late = torch.ones(2, device='cuda').to('cpu', non_blocking=True)
    assert not there.is_cuda and not gpu.waits
    early.synchronize()
    uses = (lambda x: x.numpy(), lambda x: x + 1, lambda x: x[1:].tolist(), lambda x: x[0].item())
    for use in uses:
        with pytest.raises(RuntimeError, match='may not have arrived'):
            use(there)
    event.synchronize()
    for use in uses:
        use(there)
    with pytest.raises(RuntimeError, match='may not have arrived'):
        late.sum()
    assert [kind for kind, _ in gpu.waits] == ['event', 'event']
    there.to('cuda', non_blocking=True).cpu().sum()


def test_clock(gpu):
    """The GPU works while the host does, until the host waits."""
    x, stream = torch.ones(1, device='cuda'), gpu.streams[0]
    gpu.compute(3.0)
    gpu.pass_time(1.0)
    event = torch.cuda.Event()
    event.record()
    gpu.compute(2.0)
    assert (gpu.host, stream.until, stream.idle) == (1, 5, 0)
    event.synchronize()
    assert gpu.host == 3
    x.item()
    assert gpu.host == 5
    gpu.pass_time(0.5)
    gpu.compute(1.0)
    assert (gpu.host, stream.until, stream.idle) == (5.5, 6.5, 0.5)


def test_streams(gpu):
    """What another one made is there after waiting for it, or after the host has."""
    x, side = torch.ones(2, device='cuda'), torch.cuda.Stream()
    for use in (lambda: x + 1, lambda: x.to('cpu', non_blocking=True)):
        with torch.cuda.stream(side), pytest.raises(RuntimeError, match='another stream'):
            use()
    gpu.compute(2.0)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        y = x + 1
        gpu.compute(1.0)
        event = torch.cuda.Event()
        event.record()
    assert (side.until, gpu.streams[0].until, gpu.host) == (3, 2, 0)
    with pytest.raises(RuntimeError, match='another stream'):
        y.sum()
    x.sum().item()
    assert gpu.host == 2
    event.synchronize()
    assert gpu.host == 3 and y.sum().item() == 4
