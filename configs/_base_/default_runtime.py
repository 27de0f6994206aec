# mmdet's runtime, and the check that labels, words and teachers belong together.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_hooks = [dict(type='VocabularyCheckHook')]
