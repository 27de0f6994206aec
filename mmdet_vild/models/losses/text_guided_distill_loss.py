"""Regions keep the teacher's geometry, as far apart as their words (GKC's text-guided loss)."""

from collections.abc import Sequence
from typing import Literal

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmdet_vild.options import NotNegative, checked_options

from .feature_distill_loss import squared_distances
from .weighted_rows import unit_rows, weighted_mean


@MODELS.register_module()
@checked_options
class TextGuidedDistillLoss(nn.Module):
    """Distillation in which words say how near the regions of an image should be.

    With student v, teacher g and text t of each region, all of length 1: the plain loss is the mean
    of |v_i - g_i|^2 over the regions; the text-guided one is the mean of
    (k^2 t_i . t_j - v_i . g_j)^2 over all ordered pairs of regions of one image, i = j too. Formula
    of the authors' code; the paper's figure shows the same. Where regions have weights (ours), a
    pair counts by the product of both, and both means are by weights.

    With v = g the text-guided loss is not zero: words and images have different geometries. k,
    which begins at 1, takes up what differs in scale; the log has it as ``distill_scale``.

    Args:
        loss_weight: Of the plain loss. The authors use 10.
        text_weight: Of the text-guided one.
        reduce: ``'separate'``: each is a mean of its own; ``'joint'``: one mean over regions and
            pairs, with ``loss_weight``, as the authors have it, in which pairs outweigh regions
            where images have many.
        learned_scale: Whether k is learned. Else it stays 1.
    """

    def __init__(
        self,
        loss_weight: NotNegative = 10.0,
        text_weight: NotNegative = 10.0,
        reduce: Literal['separate', 'joint'] = 'separate',
        learned_scale: bool = True,
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.text_weight = text_weight
        self.reduce = reduce
        self.scale = nn.Parameter(torch.ones(()), requires_grad=learned_scale)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        texts: Tensor,
        counts: Sequence[int],
        weights: Tensor | None = None,
        named: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """``loss_distill`` and, if separate, ``loss_text_distill``; zeros where no region is.

        Args:
            student: (n, D) region embeddings.
            teacher: (n, D) the teacher's embeddings of the same regions.
            texts: (n, D) text embeddings of their words.
            counts: How many of the regions, in order, are of each image.
            weights: (n,) not negative; one of weight 0 may hold anything. All are 1 without it.
            named: (n,) bool, which regions have a word; the others are in no pair. Default all.

        Raises:
            ValueError: The shapes differ.
        """
        student, teacher, texts = unit_rows(
            student, teacher.detach(), texts.detach(), weights=weights
        )
        distances = squared_distances(student, teacher)
        weights = torch.ones_like(distances) if weights is None else weights.to(distances)
        of_pair = weights if named is None else weights * named
        with torch.autocast(student.device.type, enabled=False):
            rows = (each.split(list(counts)) for each in (student, teacher, texts, of_pair))
            errors, products = [distances.new_zeros(0)], [distances.new_zeros(0)]
            for v, g, t, w in zip(*rows, strict=True):
                errors.append((self.scale**2 * (t @ t.T) - v @ g.T).flatten())
                products.append((w[:, None] * w).flatten())
            pairs, of_pairs = torch.cat(errors).square(), torch.cat(products)
            if self.reduce == 'joint':
                both = torch.cat([distances, pairs]), torch.cat([weights, of_pairs])
                return dict(loss_distill=self.loss_weight * weighted_mean(*both) + 0 * self.scale)
            return dict(
                loss_distill=self.loss_weight * weighted_mean(distances, weights),
                loss_text_distill=self.text_weight * weighted_mean(pairs, of_pairs)
                + 0 * self.scale,
            )
