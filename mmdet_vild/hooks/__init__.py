"""Hooks, registered in mmengine's HOOKS."""

from .embedding_store_hook import EmbeddingStoreHook
from .vocabulary_check_hook import VocabularyCheckHook

__all__ = ['EmbeddingStoreHook', 'VocabularyCheckHook']
