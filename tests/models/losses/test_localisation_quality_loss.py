"""Localisation quality, and what is learned of it, against formulas in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import MODELS

from mmdet_vild.models.losses import centerness, localisation_quality

pytestmark = pytest.mark.onedl

#: Multiples of 1/64, so that corners are exact.
SIDES = st.integers(0, 50 * 64).map(lambda n: n / 64)


@given(st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES), min_size=1, max_size=5))
def test_centerness(sides):
    """Of a point with distances left, top, right, bottom (FCOS, Eq. 3)."""
    left, top, right, bottom = torch.tensor(sides, dtype=torch.float64).T
    points = torch.tensor([[60.0, 70]], dtype=torch.float64).expand(len(sides), 2)
    boxes = torch.stack([60 - left, 70 - top, 60 + right, 70 + bottom], dim=1)
    expected = []
    for a, b, c, d in sides:
        parts = [min(pair) / max(max(pair), 1e-6) for pair in ((a, c), (b, d))]
        expected.append(math.sqrt(parts[0] * parts[1]))
    found = centerness(points, boxes)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert (found >= 0).all() and (found <= 1).all()


def test_points_outside_have_none():
    boxes = torch.tensor([[10.0, 10, 30, 50]]).expand(4, 4)
    points = torch.tensor([[5.0, 30], [20, 60], [20, 30], [15, 30]])
    expected = [0, 0, 1, math.sqrt(5 / 15)]
    torch.testing.assert_close(centerness(points, boxes), torch.tensor(expected))


def test_quality_of_regions():
    regions = torch.tensor([[0.0, 0, 20, 20], [10, 0, 30, 20]])
    objects = torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 20]])
    ious = localisation_quality(regions, objects, 'iou')
    torch.testing.assert_close(ious, torch.tensor([1.0, 200 / 600]))
    assert localisation_quality(regions, objects, 'centerness').tolist() == [1, 0]


@pytest.mark.parametrize('avg_factor', [None, 5])
def test_loss(avg_factor):
    loss = MODELS.build(dict(type='LocalisationQualityLoss', loss_weight=2.0))
    logits = torch.randn(6, 1, requires_grad=True)
    qualities, weights = torch.rand(6), torch.tensor([1.0, 0, 1, 1, 0, 0])
    found = loss(logits, qualities, weights, avg_factor)
    expected = sum(
        abs(1 / (1 + math.exp(-logits[i].item())) - qualities[i].item()) for i in (0, 2, 3)
    )
    assert found.item() == pytest.approx(2 * expected / (avg_factor or 3), rel=1e-5)
    found.backward()
    assert logits.grad[[0, 2, 3]].all() and not logits.grad[[1, 4, 5]].any()


def test_nothing_annotated():
    """A gradient of zeros, for the other ranks of a distributed run."""
    loss = MODELS.build(dict(type='LocalisationQualityLoss'))
    for count in (0, 3):
        logits = torch.randn(count, 1, requires_grad=True)
        found = loss(logits, torch.zeros(count), torch.zeros(count))
        found.backward()
        assert found == 0 and not logits.grad.any()


def test_it_is_a_sigmoid():
    with pytest.raises(ValueError, match='use_sigmoid of LocalisationQualityLoss must be True'):
        MODELS.build(dict(type='LocalisationQualityLoss', use_sigmoid=False))
