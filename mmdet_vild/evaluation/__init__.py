"""Metrics of MMDetection's test loop: what writes the embedding store, and LVIS's AP."""

from .embedding_store_writer import EmbeddingStoreWriter
from .fast_lvis_metric import FastLVISMetric

__all__ = ['EmbeddingStoreWriter', 'FastLVISMetric']
