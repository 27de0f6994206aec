"""Detectors, and the words that they are asked for."""

from .clip_on_crops import CLIPOnCrops
from .clip_on_stock_detector import CLIPOnStockDetector
from .onnx_vild import ONNXViLD
from .open_vocabulary_mixin import OpenVocabularyMixin
from .open_vocabulary_tta import OpenVocabularyTTA
from .teacher_scored_vild import TeacherScoredViLD
from .vild import ViLD
from .vild_text_clip import ViLDTextCLIP
from .word_encoder import WordEncoder

__all__ = [
    'CLIPOnCrops', 'CLIPOnStockDetector', 'ONNXViLD', 'OpenVocabularyMixin', 'OpenVocabularyTTA',
    'TeacherScoredViLD', 'ViLD', 'ViLDTextCLIP', 'WordEncoder',
]  # fmt: skip
