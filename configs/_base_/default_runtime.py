# mmdet's runtime, the check that labels, words and teachers belong together, a stop where the loss
# is not finite, a config in the work folder that can be used as it is, pictures in which novel
# categories are marked, and test-time augmentation that keeps the words.
_base_ = 'mmdet::_base_/default_runtime.py'

default_hooks = dict(
    work_dir_config=dict(type='WorkDirConfigHook'), finite_loss=dict(type='FiniteLossHook')
)
custom_hooks = [dict(type='VocabularyCheckHook')]
visualizer = dict(type='OpenVocabularyVisualizer')
tta_model = dict(type='OpenVocabularyTTA')
