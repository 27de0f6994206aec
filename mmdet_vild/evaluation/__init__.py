"""Metrics."""

from .embedding_store_writer import EmbeddingStoreWriter

__all__ = ['EmbeddingStoreWriter']
