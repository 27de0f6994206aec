"""Datasets with novel categories, and the transforms that bring embeddings to a model."""

from .clip_crop_embedding import CLIPCropEmbedding
from .keep_original_image import (
    ORIGINAL_BOXES_KEY,
    ORIGINAL_IMAGE_KEY,
    ORIGINAL_LABELS_KEY,
    KeepOriginalImage,
)
from .open_vocabulary_coco import OpenVocabularyCocoDataset, OVCocoDataset
from .open_vocabulary_lvis import OpenVocabularyLVISDataset
from .original_image import original_image, to_original
from .pack_vild_inputs import PackViLDInputs
from .repeat_factor_sampler import RepeatFactorSampler

__all__ = [
    'CLIPCropEmbedding',
    'KeepOriginalImage',
    'ORIGINAL_BOXES_KEY',
    'ORIGINAL_IMAGE_KEY',
    'ORIGINAL_LABELS_KEY',
    'OVCocoDataset',
    'OpenVocabularyCocoDataset',
    'OpenVocabularyLVISDataset',
    'PackViLDInputs',
    'RepeatFactorSampler',
    'original_image',
    'to_original',
]
