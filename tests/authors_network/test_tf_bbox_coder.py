"""Boxes of the authors, which are a pixel wider than their corners are apart."""

import operator

import numpy as np
import pytest
import torch
from authors_network import model_config
from mmdet.registry import TASK_UTILS

pytestmark = pytest.mark.onedl


@pytest.mark.parametrize('part', ['rpn_head', 'roi_head.bbox_head'])
def test_boxes(part):
    """As their formulas: widths are x2 - x1 + 1, and clipped is to the last pixel."""
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 90, (200, 2))
    # Some are empty, and become narrower: their corners are swapped.
    boxes = np.concatenate([start, start + rng.choice([0, 30], (200, 2))], axis=1)
    deltas = rng.normal(size=(200, 4)) * 2
    deltas[:5, 2:] = 50  # beyond what an exponential is taken of
    cfg = model_config()
    coder = TASK_UTILS.build(operator.attrgetter(part)(cfg).bbox_coder)
    size = boxes[:, 2:] - boxes[:, :2] + 1
    stds = np.ones(4) if part == 'rpn_head' else np.array([0.1, 0.1, 0.2, 0.2])
    centre = boxes[:, :2] + 0.5 * size + (deltas * stds)[:, :2] * size
    size = size * np.exp(np.minimum((deltas * stds)[:, 2:], np.log(1000 / 16)))
    corner = centre - 0.5 * size
    expected = np.concatenate([corner, corner + size - 1], axis=1).clip(0, [99, 79, 99, 79])
    args = (torch.from_numpy(boxes), torch.from_numpy(deltas))
    found = coder.decode(*args, max_shape=(80, 100)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert (found[:, 0] > found[:, 2]).any()
    again = coder.decode(args[0], coder.encode(args[0], torch.from_numpy(expected))).numpy()
    np.testing.assert_allclose(again[5:], expected[5:], atol=1e-4)
