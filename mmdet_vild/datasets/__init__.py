"""Datasets, stores of teacher embeddings, and the transforms that bring them to a model."""

from .clip_crop_embedding import CLIPCropEmbedding
from .embedding_store import EMBEDDING_TEACHER_KEY, EmbeddingRecord, NpzEmbeddingStore
from .keep_original_image import ORIGINAL_IMAGE_KEY, KeepOriginalImage
from .on_the_fly_embeddings import OnTheFlyEmbeddings
from .open_vocabulary_lvis import OpenVocabularyLVISDataset
from .pack_vild_inputs import PackViLDInputs

__all__ = [
    'EMBEDDING_TEACHER_KEY',
    'ORIGINAL_IMAGE_KEY',
    'CLIPCropEmbedding',
    'EmbeddingRecord',
    'KeepOriginalImage',
    'NpzEmbeddingStore',
    'OnTheFlyEmbeddings',
    'OpenVocabularyLVISDataset',
    'PackViLDInputs',
]
