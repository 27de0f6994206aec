"""Hooks, registered in mmengine's HOOKS."""

from .vocabulary_check_hook import VocabularyCheckHook

__all__ = ['VocabularyCheckHook']
