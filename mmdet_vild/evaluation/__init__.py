"""Metrics."""

from .crop_accuracy import CropAccuracy
from .fast_lvis_metric import FastLVISMetric
from .open_vocabulary_seg_metric import OpenVocabularySegMetric

__all__ = ['CropAccuracy', 'FastLVISMetric', 'OpenVocabularySegMetric']
