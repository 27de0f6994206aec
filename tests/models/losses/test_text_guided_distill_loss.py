"""The text-guided distillation against NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_vild.models import TextGuidedDistillLoss


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def reference(student, teacher, texts, counts, k, weights=None, named=None):
    """The distances of all regions, the errors of all pairs of one image, and weights of both."""
    v, g, t = map(unit, (student, teacher, texts))
    weights = np.ones(len(v)) if weights is None else weights
    named = np.ones(len(v), bool) if named is None else named
    image = np.repeat(np.arange(len(counts)), counts)
    pairs = [
        ((k * k * t[i] @ t[j] - v[i] @ g[j]) ** 2, weights[i] * weights[j])
        for i in range(len(v))
        for j in range(len(v))
        if image[i] == image[j] and named[i] and named[j]
    ]
    return ((v - g) ** 2).sum(1), *np.array(pairs).reshape(-1, 2).T, weights


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.floats(0.2, 2), st.integers(0, 9))
def test_is_the_formula(counts, k, seed):
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(sum(counts), 6)) for _ in range(3)]
    distances, pairs, _, _ = reference(*rows, counts, k)
    losses = {}
    for way in ('separate', 'joint'):
        loss = TextGuidedDistillLoss(2.0, 3.0, way).double()
        loss.scale.data.fill_(k)
        losses[way] = loss(*map(torch.tensor, rows), counts)
    many = max(len(distances), 1)
    assert losses['separate']['loss_distill'].item() == pytest.approx(2 * distances.sum() / many)
    expected = 3 * pairs.sum() / max(len(pairs), 1)
    assert losses['separate']['loss_text_distill'].item() == pytest.approx(expected)
    both = np.concatenate([distances, pairs])
    assert list(losses['joint']) == ['loss_distill']
    assert losses['joint']['loss_distill'].item() == pytest.approx(
        2 * both.sum() / max(len(both), 1)
    )


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 99))
def test_weights_and_regions_without_a_word(counts, seed):
    """Means by the weights, of pairs by their products; what has no weight may hold anything."""
    rng = np.random.default_rng(seed)
    n = sum(counts)
    rows = [rng.normal(size=(n, 6)) for _ in range(3)]
    weights, named = rng.random(n) * (rng.random(n) > 0.3), rng.random(n) > 0.3
    distances, pairs, products, weights = reference(*rows, counts, 0.8, weights, named)
    for each in rows[1:]:
        each[weights == 0] = np.nan
    student = torch.tensor(rows[0], requires_grad=True)
    others = *map(torch.tensor, rows[1:]), counts, torch.tensor(weights), torch.tensor(named)
    plain, text = (weights * distances).sum(), (products * pairs).sum()
    expected = {
        'separate': 2 * plain / (weights.sum() or 1) + 3 * text / (products.sum() or 1),
        'joint': 2 * (plain + text) / ((weights.sum() + products.sum()) or 1),
    }
    for way, value in expected.items():
        loss = TextGuidedDistillLoss(2.0, 3.0, way).double()
        loss.scale.data.fill_(0.8)
        found = sum(loss(student, *others).values())
        assert found.item() == pytest.approx(value)
        student.grad = None
        found.backward()
        assert torch.isfinite(student.grad).all() and torch.isfinite(loss.scale.grad)
        assert not student.grad[weights == 0].any()


@pytest.mark.parametrize('way', ['separate', 'joint'])
@pytest.mark.parametrize('counts', [(2, 0), (0, 0)])
def test_everything_has_a_gradient_but_teacher_and_texts(way, counts):
    loss = TextGuidedDistillLoss(reduce=way)
    rows = [torch.randn(sum(counts), 6, requires_grad=True) for _ in range(3)]
    sum(loss(*rows, counts).values()).backward()
    assert rows[0].grad is not None and loss.scale.grad is not None
    assert rows[1].grad is None and rows[2].grad is None
    assert (loss.scale.grad != 0) == (sum(counts) > 0)


def test_a_fixed_scale_is_not_learned():
    assert not TextGuidedDistillLoss(learned_scale=False).scale.requires_grad
