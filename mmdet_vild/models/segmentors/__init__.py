"""Segmentors, and the words that they are asked for."""

from .clip_on_masks import CLIPOnMasks
from .gkc import GKC
from .gkc_head import GKCHead, GKCMaskFormerHead
from .open_vocabulary_fusion_head import OpenVocabularyFusionHead
from .text_query_head import TextQueryHeadMixin

__all__ = [
    'CLIPOnMasks',
    'GKC',
    'GKCHead',
    'GKCMaskFormerHead',
    'OpenVocabularyFusionHead',
    'TextQueryHeadMixin',
]
