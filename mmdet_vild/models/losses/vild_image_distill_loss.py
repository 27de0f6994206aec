"""What the detector learns from the teacher's image embeddings."""

from typing import Literal

import torch
from mmdet.registry import MODELS
from mmengine.dist import all_reduce
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmdet_vild.options import NotNegative, checked_options

from ..words import NORM_EPS


@MODELS.register_module()
@checked_options
class ViLDImageDistillLoss(nn.Module):
    """L1 distance of region embeddings to the teacher's (ViLD, Eq. 4).

    Both are L2-normalised; the distance is summed over the embedding and averaged over the
    regions, by their weights if they have any. It grows with about sqrt(D), so w depends on the
    teacher's width: 0.5 at D = 512 is about 0.4 at 768.

    Args:
        loss_weight: w. The authors use 0.5 for ResNet-50.
        reduce: Whose regions the average is over in distributed training. ``'rank'``: those of a
            process, whose averages are averaged then, as mmdet's losses are; a process with few
            regions counts as much as one with many. ``'global'``: those of all processes.

    """

    def __init__(
        self, loss_weight: NotNegative = 0.5, reduce: Literal['rank', 'global'] = 'rank'
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.reduce = reduce

    def forward(self, student: Tensor, teacher: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss; zero, with a gradient of zeros, where no region counts.

        Args:
            student: (n, D) region embeddings.
            teacher: (n, D) the teacher's embeddings of the same regions.
            weights: (n,) not negative; one of weight 0 may hold anything. All are 1 without it.

        Returns:
            A scalar, in float32.

        Raises:
            ValueError: The shapes differ.
        """
        if student.shape != teacher.shape:
            raise ValueError(
                f'the detector embeds regions as {tuple(student.shape)}, the teacher as '
                f'{tuple(teacher.shape)}; text embeddings and region embeddings must come from '
                'one teacher'
            )
        with torch.autocast(student.device.type, enabled=False):
            student = normalize(student.float(), dim=1, eps=NORM_EPS)
            teacher = normalize(teacher.float(), dim=1, eps=NORM_EPS)
            distances = (student - teacher).abs().sum(dim=1)
            weights = torch.ones_like(distances) if weights is None else weights.float()
            # Not by multiplication alone, which would keep NaN.
            total = torch.where(weights > 0, distances * weights, 0).sum()
            count = weights.sum()
            if self.reduce == 'global':  # of a process, as the gradients will be averaged
                all_reduce(count, op='mean')
            return self.loss_weight * total / torch.where(count > 0, count, 1)
