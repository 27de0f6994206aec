"""The distillation loss against a float64 formula."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdet_vild.models import ViLDImageDistillLoss

pytestmark = pytest.mark.onedl


@given(
    rows=st.integers(1, 9),
    width=st.integers(1, 32),
    weight=st.floats(0, 4),
    seed=st.integers(0, 99),
)
def test_value(rows, width, weight, seed):
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(2, rows, width))
    valid = rng.random(rows) > 0.4
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (student, teacher)]
    distances = np.abs(unit[0] - unit[1]).sum(axis=1)[valid]
    expected = weight * distances.sum() / max(valid.sum(), 1)
    found = ViLDImageDistillLoss(weight)(
        *(torch.from_numpy(x).float() for x in (student, teacher)), torch.from_numpy(valid)
    )
    np.testing.assert_allclose(float(found), expected, rtol=1e-5, atol=1e-6)


def test_invalid_rows_carry_no_weight_even_if_not_finite():
    student = torch.randn(4, 8, requires_grad=True)
    teacher = torch.randn(4, 8)
    teacher[1] = float('nan')
    valid = torch.tensor([True, False, True, True])
    loss = ViLDImageDistillLoss(1.0)(student, teacher, valid)
    torch.testing.assert_close(loss, ViLDImageDistillLoss(1.0)(student[valid], teacher[valid]))
    loss.backward()
    assert torch.isfinite(student.grad).all() and not student.grad[1].any()


def test_no_rows_give_zero_and_a_gradient():
    student = torch.zeros(0, 8, requires_grad=True)
    loss = ViLDImageDistillLoss()(student, torch.zeros(0, 8))
    assert loss.item() == 0
    loss.backward()
    assert student.grad is not None


def test_another_width_is_refused():
    with pytest.raises(ValueError, match=r'\(3, 8\).*\(3, 16\).*one teacher'):
        ViLDImageDistillLoss()(torch.zeros(3, 8), torch.zeros(3, 16))
