"""The plain distillation against NumPy."""

import numpy as np
import pytest
import torch

from mmdet_vild.models import FeatureDistillLoss


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_is_the_mean_squared_distance():
    student, teacher = (np.random.default_rng(i).normal(size=(5, 7)) for i in (0, 1))
    expected = ((unit(student) - unit(teacher)) ** 2).sum(1)
    loss = FeatureDistillLoss(3.0)
    rows = torch.tensor(student), torch.tensor(teacher)
    assert loss(*rows).item() == pytest.approx(3 * expected.mean(), rel=1e-9)
    weights = torch.tensor([1.0, 0, 2, 0, 0.5], dtype=torch.float64)
    weighted = 3 * np.average(expected, weights=weights.numpy())
    assert loss(*rows, weights).item() == pytest.approx(weighted, rel=1e-9)


def test_a_region_without_weight_may_hold_anything():
    student, teacher = torch.randn(3, 7, requires_grad=True), torch.randn(3, 7)
    teacher[1] = float('nan')
    loss = FeatureDistillLoss(2.0)(student, teacher, torch.tensor([1.0, 0, 3]))
    unit_rows = [torch.nn.functional.normalize(x) for x in (student, teacher)]
    distances = (unit_rows[0] - unit_rows[1]).square().sum(1)
    torch.testing.assert_close(loss, 2 * (distances[0] + 3 * distances[2]) / 4)
    loss.backward()
    assert torch.isfinite(student.grad).all() and not student.grad[1].any()


def test_no_region_has_a_gradient_of_zeros():
    student = torch.zeros(0, 7, requires_grad=True)
    loss = FeatureDistillLoss()(student, torch.zeros(0, 7))
    loss.backward()
    assert loss == 0 and student.grad.shape == (0, 7)


def test_other_widths_are_refused():
    with pytest.raises(ValueError, match='from one teacher'):
        FeatureDistillLoss()(torch.ones(2, 7), torch.ones(2, 8))
