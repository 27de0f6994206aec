"""Classifiers that compare with text embeddings."""

from .clip_text_classifier import CLIPTextClassifier

__all__ = ['CLIPTextClassifier']
