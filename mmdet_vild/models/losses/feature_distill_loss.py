"""Region embeddings are drawn to the teacher's (GKC's plain distillation)."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from torch import Tensor, nn

from mmdet_vild.options import NotNegative, checked_options

from .weighted_rows import unit_rows, weighted_mean


@MODELS.register_module()
@checked_options
class FeatureDistillLoss(nn.Module):
    """Squared L2 distance of region embeddings to the teacher's, both of length 1.

    The distance is summed over the embedding, and so at most 4, and averaged over the regions. It
    may take the place of :class:`ViLDImageDistillLoss` in ViLD's RoI head too.

    Args:
        loss_weight: The authors use 10.
    """

    def __init__(self, loss_weight: NotNegative = 10.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        weights: Tensor | None = None,
        per_image: Sequence[int] | None = None,
    ) -> Tensor:
        """The loss, a scalar; zero, with a gradient of zeros, where no region counts.

        Args:
            student: (n, D) region embeddings.
            teacher: (n, D) the teacher's embeddings of the same regions.
            weights: (n,) not negative; one of weight 0 may hold anything. All are 1 without it.
            per_image: As of :class:`ViLDImageDistillLoss`; all regions count alike here.

        Raises:
            ValueError: The shapes differ.
        """
        student, teacher = unit_rows(student, teacher, weights=weights)
        return self.loss_weight * weighted_mean(squared_distances(student, teacher), weights)


def squared_distances(student: Tensor, teacher: Tensor) -> Tensor:
    """(n,), between rows of two (n, D)."""
    return (student - teacher).square().sum(dim=1)
