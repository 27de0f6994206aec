# mmdet's runtime, the check that labels, words and teachers belong together, and pictures in which
# novel categories are marked.
_base_ = 'mmdet::_base_/default_runtime.py'

custom_hooks = [dict(type='VocabularyCheckHook')]
visualizer = dict(type='OpenVocabularyVisualizer')
