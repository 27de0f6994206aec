"""Losses of distillation, of synonyms, and of how well regions are localised."""

from .feature_distill_loss import FeatureDistillLoss
from .localisation_quality_loss import (
    LocalisationQualityLoss,
    centerness,
    localisation_quality,
    quality_loss,
)
from .synonym_loss import SynonymLoss
from .text_guided_distill_loss import TextGuidedDistillLoss
from .vild_image_distill_loss import ViLDImageDistillLoss

__all__ = [
    'FeatureDistillLoss', 'LocalisationQualityLoss', 'SynonymLoss', 'TextGuidedDistillLoss',
    'ViLDImageDistillLoss', 'centerness', 'localisation_quality', 'quality_loss',
]  # fmt: skip
