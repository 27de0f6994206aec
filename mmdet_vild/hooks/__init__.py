"""Hooks."""

from .finite_loss_hook import FiniteLossHook
from .val_before_train_hook import ValBeforeTrainHook
from .vocabulary_check_hook import VocabularyCheckHook
from .work_dir_config_hook import WorkDirConfigHook

__all__ = ['FiniteLossHook', 'ValBeforeTrainHook', 'VocabularyCheckHook', 'WorkDirConfigHook']
