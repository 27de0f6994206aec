"""Classifiers that compare with text embeddings."""

from .checkpoint_vocabulary import vocabulary_state
from .clip_text_classifier import CLIPTextClassifier

__all__ = ['CLIPTextClassifier', 'vocabulary_state']
