"""The bbox head of ViLD-ensemble: one branch for words, another for the teacher's images."""

import torch
from mmdet.registry import MODELS
from torch import Tensor

from mmdet_vild.options import Fraction, checked_options

from ..words import Words
from .vild_bbox_head import ViLDBBoxHead


def geometric_mean(text: Tensor, image: Tensor, novel: Tensor, weight: float) -> Tensor:
    """Combine the probabilities of two classifiers (ViLD, Eq. 5).

    Args:
        text: (n, C), trusted on base categories.
        image: (n, C), trusted on novel ones.
        novel: (C,) bool.
        weight: lambda, the exponent of the trusted one.

    Returns:
        (n, C).
    """
    text_weight = torch.where(novel, 1 - weight, weight)
    return text**text_weight * image ** (1 - text_weight)


@MODELS.register_module()
@checked_options
class ViLDEnsembleBBoxHead(ViLDBBoxHead):
    """Two branches with convs, FCs and projections of their own (ViLD, Sec. 3.4).

    The text branch learns the classification and the boxes, the image branch the teacher's
    image embeddings. Both classify, and their scores are combined by a geometric mean that
    trusts the text branch on base categories and the image branch on novel ones.

    Args:
        ensemble_weight: lambda, the exponent of the trusted branch.
        **kwargs: As :class:`ViLDBBoxHead`; both branches are built from them.

    Raises:
        ValueError: The text branch has no background.
    """

    def __init__(self, ensemble_weight: Fraction = 2 / 3, **kwargs) -> None:
        super().__init__(**kwargs)
        if self.fc_cls.background is None:
            raise ValueError(
                'the text branch of ViLDEnsembleBBoxHead needs a background; leave '
                'with_background=False out of its classifier (the image branch has none anyway)'
            )
        self.ensemble_weight = ensemble_weight
        classifier = dict(self.cls_predictor_cfg, with_background=False)
        self.image_branch = ViLDBBoxHead(
            **dict(kwargs, with_reg=False, cls_predictor_cfg=classifier)
        )

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Region embeddings (n, 2, D), the text branch's first, and box deltas (n, 4)."""
        text, bbox_pred = super().embed(x)
        image, _ = self.image_branch.embed(x)
        return torch.stack([text, image], dim=1), bbox_pred

    def classify(self, embeddings: Tensor, words: Words | None = None) -> Tensor:
        """Logits of both branches side by side.

        Args:
            embeddings: (n, 2, D).
            words: As for :meth:`ViLDBBoxHead.classify`.

        Returns:
            (n, C + R + 1 + C + R), the text branch first, which alone has background.
        """
        text, image = embeddings.unbind(dim=1)
        logits = (super().classify(text, words), self.image_branch.classify(image, words))
        return torch.cat(logits, dim=1)

    def forward_distill(self, x: Tensor, num_distill: int) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`ViLDBBoxHead.forward_distill`, the distillation RoIs in the image branch.

        The logits (n, C + 1) are those of the text branch alone.
        """
        num_sampled = len(x) - num_distill
        text, bbox_pred = super().embed(x[:num_sampled])
        embeddings, _ = self.image_branch.embed(x[num_sampled:])
        return super().classify(text), bbox_pred, embeddings

    def branch_scores(self, cls_score: Tensor) -> dict[str, Tensor]:
        """``text_scores`` and ``image_scores``, each (n, C + R)."""
        # Only the text branch has a logit of background, and its softmax includes it.
        count = cls_score.shape[1] // 2
        text_logits, image_logits = cls_score.split([count + 1, count], dim=1)
        return {
            **super().branch_scores(text_logits),
            **self.image_branch.branch_scores(image_logits),
        }

    def combined_scores(self, branches: dict[str, Tensor], novel: Tensor) -> Tensor:
        """Geometric means (n, C + R) of both branches' probabilities (ViLD, Eq. 5)."""
        text, image = branches['text_scores'], branches['image_scores']
        return geometric_mean(text, image, novel, self.ensemble_weight)
