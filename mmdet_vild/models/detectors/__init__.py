"""Detectors, and the words that they are asked for."""

from .clip_on_crops import CLIPOnCrops
from .open_vocabulary import OpenVocabularyMixin
from .open_vocabulary_tta import OpenVocabularyTTA
from .vild import ViLD
from .vild_text_clip import ViLDTextCLIP
from .word_encoder import WordEncoder

__all__ = [
    'CLIPOnCrops',
    'OpenVocabularyMixin',
    'OpenVocabularyTTA',
    'ViLD',
    'ViLDTextCLIP',
    'WordEncoder',
]
