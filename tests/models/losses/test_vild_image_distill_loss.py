"""The distillation loss against a float64 formula."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import distributed
from two_processes import in_two_processes

from mmdet_vild.models import ViLDImageDistillLoss

pytestmark = pytest.mark.onedl


@given(
    rows=st.integers(1, 9),
    width=st.integers(1, 32),
    factor=st.floats(0, 4),
    seed=st.integers(0, 99),
)
def test_value(rows, width, factor, seed):
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(2, rows, width))
    weights = rng.random(rows) * (rng.random(rows) > 0.4)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (student, teacher)]
    distances = np.abs(unit[0] - unit[1]).sum(axis=1)
    loss = ViLDImageDistillLoss(factor)
    both = [torch.from_numpy(x).float() for x in (student, teacher)]
    np.testing.assert_allclose(float(loss(*both)), factor * distances.mean(), rtol=1e-5, atol=1e-6)
    expected = factor * (weights * distances).sum() / (weights.sum() or 1)
    found = loss(*both, torch.from_numpy(weights))
    np.testing.assert_allclose(float(found), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(loss(*both, torch.ones(rows)), loss(*both))


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
@example(counts=[2, 5, 5, 5], seed=65)  # one of all zeros
def test_weights_of_an_image_have_a_mean_of_1(counts, seed):
    """Each image counts by its number of rows; one whose weights are all zero by none."""
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(2, sum(counts), 6))
    images = [rng.random(n) * (rng.random(n) > 0.4) for n in counts]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (student, teacher)]
    distances = np.abs(unit[0] - unit[1]).sum(axis=1)
    scaled = np.concatenate([w * len(w) / (w.sum() or 1) for w in images])
    loss = ViLDImageDistillLoss(2.0, normalize_weights='image')
    both = [torch.from_numpy(x).float() for x in (student, teacher)]
    weights = torch.from_numpy(np.concatenate(images))
    expected = 2 * (scaled * distances).sum() / (scaled.sum() or 1)
    np.testing.assert_allclose(float(loss(*both, weights, counts)), expected, rtol=1e-5, atol=1e-6)
    ignoring = ViLDImageDistillLoss(2.0, normalize_weights='ignore')
    assert torch.equal(ignoring(*both, weights), ViLDImageDistillLoss(2.0)(*both))


def test_rows_without_weight_may_hold_anything():
    student = torch.randn(4, 8, requires_grad=True)
    teacher = torch.randn(4, 8)
    teacher[1] = float('nan')
    weights = torch.tensor([1.0, 0, 1, 1])
    loss = ViLDImageDistillLoss(1.0)(student, teacher, weights)
    kept = weights > 0
    torch.testing.assert_close(loss, ViLDImageDistillLoss(1.0)(student[kept], teacher[kept]))
    loss.backward()
    assert torch.isfinite(student.grad).all() and not student.grad[1].any()


@pytest.mark.parametrize('rows', [0, 3])
def test_no_weight_at_all_gives_zero_and_a_gradient(rows):
    student = torch.randn(rows, 8, requires_grad=True)
    loss = ViLDImageDistillLoss()(student, torch.randn(rows, 8), torch.zeros(rows))
    assert loss.item() == 0
    loss.backward()
    assert student.grad is not None and not student.grad.any()


def rank_gradient(rank: int, folder: str, reduce: str) -> None:
    """One of two processes, with 1 and with 5 rows."""
    store = distributed.FileStore(f'{folder}/{reduce}', 2)
    distributed.init_process_group('gloo', store=store, rank=rank, world_size=2)
    torch.manual_seed(0)
    student, teacher, weights = torch.randn(6, 8), torch.randn(6, 8), torch.rand(6)
    rows = slice(0, 1) if rank == 0 else slice(1, 6)
    scale = torch.ones(8, requires_grad=True)
    loss = ViLDImageDistillLoss(1.0, reduce=reduce)
    loss(student[rows] * scale, teacher[rows], weights[rows]).backward()
    distributed.all_reduce(scale.grad)  # as DistributedDataParallel averages it
    torch.save(scale.grad / 2, f'{folder}/{reduce}-{rank}.pt')


def test_over_all_processes(tmp_path):
    """The gradient is that of one process with all rows; or the mean of each process's."""
    torch.manual_seed(0)
    student, teacher, weights = torch.randn(6, 8), torch.randn(6, 8), torch.rand(6)

    def gradient(rows: slice) -> torch.Tensor:
        scale = torch.ones(8, requires_grad=True)
        loss = ViLDImageDistillLoss(1.0)
        loss(student[rows] * scale, teacher[rows], weights[rows]).backward()
        return scale.grad

    expected = {
        'global': gradient(slice(6)),
        'rank': (gradient(slice(0, 1)) + gradient(slice(1, 6))) / 2,
    }
    assert (expected['global'] - expected['rank']).abs().max() > 0.01
    for reduce, value in expected.items():
        in_two_processes(rank_gradient, str(tmp_path), reduce)
        for rank in range(2):
            torch.testing.assert_close(torch.load(tmp_path / f'{reduce}-{rank}.pt'), value)


def test_refuses():
    with pytest.raises(ValueError, match=r'\(3, 8\).*\(3, 16\).*one teacher'):
        ViLDImageDistillLoss()(torch.zeros(3, 8), torch.zeros(3, 16))
    by_image = ViLDImageDistillLoss(normalize_weights='image')
    for per_image in (None, [2, 2]):
        with pytest.raises(ValueError, match='of which images the 3 regions are, found per_image='):
            by_image(torch.zeros(3, 8), torch.zeros(3, 8), torch.ones(3), per_image)
    with pytest.raises(ValueError, match="'rank' or 'global', found 'mean'"):
        ViLDImageDistillLoss(reduce='mean')
