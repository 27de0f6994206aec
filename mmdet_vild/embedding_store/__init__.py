"""Stores of what the teacher saw: pure storage, no model and no dataset."""

from .record import EmbeddingRecord
from .shard import DamagedRecordError, EmbeddingShard
from .store import EmbeddingStore, MissingRecordError, built_store, dataset_fingerprint

__all__ = [
    'DamagedRecordError',
    'EmbeddingRecord',
    'EmbeddingShard',
    'EmbeddingStore',
    'MissingRecordError',
    'built_store',
    'dataset_fingerprint',
]
