"""What the detector learns from the teacher's image embeddings."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..words import NORM_EPS


@MODELS.register_module()
class ViLDImageDistillLoss(nn.Module):
    """L1 distance of region embeddings to the teacher's (ViLD, Eq. 4).

    Both are L2-normalised; the distance is summed over the embedding and averaged over the
    regions that count. It grows with about sqrt(D), so w depends on the teacher's width.

    Args:
        loss_weight: w. The authors use 0.5 for ResNet-50.
    """

    def __init__(self, loss_weight: float = 0.5) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
        """The loss; zero, with a gradient of zeros, where no region counts.

        Args:
            student: (n, D) region embeddings.
            teacher: (n, D) the teacher's embeddings of the same regions.
            valid: (n,) bool, the rows that count. All do without it.

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
            if valid is not None:
                # An invalid row may hold anything, NaN too, which a weight of zero would keep.
                distances = torch.where(valid, distances, torch.zeros_like(distances))
            count = distances.numel() if valid is None else valid.sum()
            return self.loss_weight * distances.sum() / max(int(count), 1)
