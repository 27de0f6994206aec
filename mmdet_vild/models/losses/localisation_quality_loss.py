"""What a detector learns of how well a region is localised, of annotated objects alone."""

from typing import Literal

from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor, nn

from mmdet_vild.options import NotNegative, checked_options


@MODELS.register_module()
@checked_options
class LocalisationQualityLoss(nn.Module):
    """L1 distance of a predicted quality, a sigmoid, to that of a region (OLN).

    OLN (Kim et al., "Learning Open-World Object Proposals without Learning to Classify", RA-L
    2022) has it in place of the classification of foreground. What is not annotated has no part
    in it, so nothing is taught to be background.

    Args:
        loss_weight: Its weight.
        use_sigmoid: As mmdet's heads ask of a loss; there is no other way.
    """

    def __init__(self, loss_weight: NotNegative = 1.0, use_sigmoid: Literal[True] = True) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.use_sigmoid = use_sigmoid

    def forward(
        self,
        logits: Tensor,
        qualities: Tensor,
        weights: Tensor,
        avg_factor: float | None = None,
    ) -> Tensor:
        """The loss, a scalar; zero, with a gradient of zeros, where no region counts.

        Args:
            logits: (n,) or (n, 1), of the predicted qualities.
            qualities: (n,) from 0 to 1, what they should be.
            weights: (n,) not negative.
            avg_factor: What the sum is divided by; default: the sum of the weights.
        """
        distances = (logits.flatten().float().sigmoid() - qualities).abs() * weights
        count = weights.sum().clamp(min=1) if avg_factor is None else max(float(avg_factor), 1.0)
        return self.loss_weight * distances.sum() / count


def quality_loss(config: dict, name: str) -> LocalisationQualityLoss:
    """The loss of a config, of which a head's option is called ``name``.

    Raises:
        TypeError: It is another loss.
    """
    loss = MODELS.build(config)
    if not isinstance(loss, LocalisationQualityLoss):
        raise TypeError(
            f'{name} must be a LocalisationQualityLoss, found {type(loss).__name__}; write '
            "dict(_delete_=True, type='LocalisationQualityLoss')"
        )
    return loss


def centerness(points: Tensor, boxes: Tensor) -> Tensor:
    """(n,) how central points (n, 2) are in boxes (n, 4): 1 in the centre, 0 outside.

    The geometric mean of the nearer side's distance over the farther one's, along both axes (FCOS,
    Tian et al. 2019, Eq. 3).
    """
    before, after = points - boxes[:, :2], boxes[:, 2:] - points
    near, far = before.minimum(after).clamp(min=0), before.maximum(after)
    return (near / far.clamp(min=1e-6)).prod(dim=1).sqrt()


def localisation_quality(
    regions: Tensor, objects: Tensor, kind: Literal['centerness', 'iou']
) -> Tensor:
    """(n,) of regions (n, 4): the centerness of their centres in objects (n, 4), or their IoU."""
    if kind == 'iou':
        return bbox_overlaps(regions, objects, is_aligned=True)
    return centerness((regions[:, :2] + regions[:, 2:]) / 2, objects)
