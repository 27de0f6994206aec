"""Rows of regions, some of which count more than others: of length 1, and means over them."""

from typing import Literal

import torch
from mmengine.dist import all_reduce
from torch import Tensor
from torch.nn.functional import normalize

from ..words import NORM_EPS


def unit_rows(*rows: Tensor, weights: Tensor | None = None) -> list[Tensor]:
    """Rows (n, D) of length 1, in float32 at least; zeros where a weight is 0.

    Args:
        *rows: Of the same shape; where a weight is 0 they may hold anything, NaN too.
        weights: (n,) not negative; all are 1 without it.

    Raises:
        ValueError: The shapes differ.
    """
    shapes = [tuple(each.shape) for each in rows]
    if len(set(shapes)) > 1:
        raise ValueError(
            f'regions, the embeddings of the teacher and those of words have the shapes {shapes}; '
            'all must be of the same number of regions, and from one teacher'
        )
    with torch.autocast(rows[0].device.type, enabled=False):
        rows = [each if each.dtype is torch.float64 else each.float() for each in rows]
        if weights is not None:  # a product with 0 would keep NaN
            rows = [torch.where(weights[:, None] > 0, each, 0) for each in rows]
        return [normalize(each, dim=1, eps=NORM_EPS) for each in rows]


def weighted_mean(
    values: Tensor, weights: Tensor | None = None, reduce: Literal['rank', 'global'] = 'rank'
) -> Tensor:
    """Of values (n,); 0, with a gradient of zeros, where none counts.

    Args:
        values: Finite, also where the weight is 0.
        weights: (n,) not negative; all are 1 without it.
        reduce: Whether of this process, or of all.
    """
    weights = torch.ones_like(values) if weights is None else weights
    count = weights.sum()
    if reduce == 'global':  # of a process, as the gradients will be averaged
        all_reduce(count, op='mean')
    return (values * weights).sum() / torch.where(count > 0, count, 1)
