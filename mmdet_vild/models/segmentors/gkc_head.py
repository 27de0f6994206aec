"""The heads of GKC: those of Mask2Former and of MaskFormer, with words."""

from mmdet.models.dense_heads import Mask2FormerHead, MaskFormerHead
from mmdet.registry import MODELS

from .text_query_head import TextQueryHeadMixin


@MODELS.register_module()
class GKCHead(TextQueryHeadMixin, Mask2FormerHead):
    """Mask2Former's head; it classifies the learnable queries, and after each of its layers."""

    @property
    def num_predictions(self) -> int:
        """int: one more than it has layers."""
        return self.num_transformer_decoder_layers + 1


@MODELS.register_module()
class GKCMaskFormerHead(TextQueryHeadMixin, MaskFormerHead):
    """MaskFormer's head; it classifies after each of its layers."""

    @property
    def num_predictions(self) -> int:
        """int: as many as it has layers."""
        return len(self.transformer_decoder.layers)
