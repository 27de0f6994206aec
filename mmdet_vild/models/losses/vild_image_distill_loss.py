"""What the detector learns from the teacher's image embeddings."""

from collections.abc import Sequence
from typing import Literal

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmdet_vild.options import NotNegative, checked_options

from .weighted_rows import unit_rows, weighted_mean


@MODELS.register_module()
@checked_options
class ViLDImageDistillLoss(nn.Module):
    """L1 distance of region embeddings to the teacher's (ViLD, Eq. 4).

    Both are L2-normalised; the distance is summed over the embedding and averaged over the
    regions, by their weights if they have any. It grows with about sqrt(D), so w depends on the
    teacher's width: 0.5 at D = 512 is about 0.4 at 768.

    Args:
        loss_weight: w. The authors use 0.5 for ResNet-50.
        reduce: Average over the regions of a process, ``'rank'``, as mmdet's losses do, where one
            with few regions counts as much as one with many; or of all processes, ``'global'``.
        normalize_weights: With ``'image'`` weights say how regions of one image compare, and are
            scaled to a mean of 1 over it, as in EZSD: it counts by how many regions it has. With
            ``'batch'`` they compare regions of all images; ``'ignore'`` takes 1 for each.
    """

    def __init__(
        self,
        loss_weight: NotNegative = 0.5,
        reduce: Literal['rank', 'global'] = 'rank',
        normalize_weights: Literal['batch', 'image', 'ignore'] = 'batch',
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.reduce = reduce
        self.normalize_weights = normalize_weights

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        weights: Tensor | None = None,
        per_image: Sequence[int] | None = None,
    ) -> Tensor:
        """The loss, a scalar in float32; zero, with a gradient of zeros, where no region counts.

        Args:
            student: (n, D) region embeddings.
            teacher: (n, D) the teacher's embeddings of the same regions.
            weights: (n,) not negative; one of weight 0 may hold anything. All are 1 without it.
            per_image: How many of the regions, in their order, are of each image.

        Raises:
            ValueError: The shapes differ, or ``per_image`` is needed and does not add up to n.
        """
        if self.normalize_weights == 'ignore':
            weights = None
        elif weights is not None:
            weights = weights.float()
            if self.normalize_weights == 'image':
                weights = _mean_one(weights, per_image)
        student, teacher = unit_rows(student, teacher, weights=weights)
        distances = (student - teacher).abs().sum(dim=1)
        return self.loss_weight * weighted_mean(distances, weights, self.reduce)


def _mean_one(weights: Tensor, per_image: Sequence[int] | None) -> Tensor:
    """Weights (n,) scaled to a mean of 1 over each image; zero where all of one's are zero."""
    if per_image is None or sum(per_image) != len(weights):
        raise ValueError(
            f"normalize_weights='image' needs to know of which images the {len(weights)} regions "
            f'are, found per_image={per_image}'
        )
    parts = weights.split(list(per_image))
    sums = [part.sum() for part in parts]
    scaled = [
        part * (len(part) / torch.where(s > 0, s, 1)) for part, s in zip(parts, sums, strict=True)
    ]
    return torch.cat(scaled)
