"""The bbox head of ViLD-ensemble: one branch for words, another for the teacher's images."""

import torch
from mmdet.registry import MODELS
from torch import Tensor

from mmdet_vild.options import Fraction, checked_options

from ..words import Words
from .vild_bbox_head import ViLDBBoxHead


def geometric_mean(text: Tensor, image: Tensor, novel: Tensor, weight: float) -> Tensor:
    """Probabilities (n, C) of two classifiers combined (ViLD, Eq. 5).

    ``text`` is trusted on base categories, and ``image`` on those that ``novel`` (C,) says are
    novel; ``weight``, lambda, is the exponent of the trusted one.
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
        ValueError: The text branch has neither a background nor the bias of a sigmoid.
    """

    def __init__(self, ensemble_weight: Fraction = 2 / 3, **kwargs) -> None:
        super().__init__(**kwargs)
        if not self.fc_cls.has_loss:
            raise ValueError(
                'the text branch of ViLDEnsembleBBoxHead needs a background; leave '
                'with_background=False out of its classifier (the image branch has none anyway)'
            )
        self.ensemble_weight = ensemble_weight
        # No loss teaches this branch a temperature, a bias or an IoU; it has a softmax.
        classifier = dict(self.cls_predictor_cfg, with_background=False)
        classifier |= dict(bias=None, learned_temperature=False)
        of_text_alone = dict(with_reg=False, loss_iou=None, loss_cls=dict(type='CrossEntropyLoss'))
        self.image_branch = ViLDBBoxHead(
            **dict(kwargs, **of_text_alone, cls_predictor_cfg=classifier)
        )

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (n, 2, D), the text branch's first, and box deltas (n, 4 or 5)."""
        text, bbox_pred = super().embed(x)
        image, _ = self.image_branch.embed(x)
        return torch.stack([text, image], dim=1), bbox_pred

    def classify(self, embeddings: Tensor, words: Words | None = None) -> Tensor:
        """Logits (n, C + R + 1 + C + R) of (n, 2, D); only the text branch may have background."""
        text, image = embeddings.unbind(dim=1)
        logits = (super().classify(text, words), self.image_branch.classify(image, words))
        return torch.cat(logits, dim=1)

    def forward_distill(self, x: Tensor, num_distill: int) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`ViLDBBoxHead.forward_distill`, each kind of RoI in the branch that learns it.

        The logits (n, C + 1) are those of the text branch alone.
        """
        sampled, distilled = x.split([len(x) - num_distill, num_distill])
        text, bbox_pred = super().embed(sampled)
        embeddings, _ = self.image_branch.embed(distilled)
        return super().classify(text), bbox_pred, embeddings

    def scores(self, cls_score: Tensor, novel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Geometric means (n, C + R) of both branches' probabilities (ViLD, Eq. 5), and these."""
        # Only the text branch may have a logit of background, and its softmax includes it.
        count = cls_score.shape[1] // 2
        text, image = cls_score.split([cls_score.shape[1] - count, count], dim=1)
        text, of_text = super().scores(text, novel)
        image, of_image = self.image_branch.scores(image, novel)
        return geometric_mean(text, image, novel, self.ensemble_weight), of_text | of_image
