"""Datasets, stores of teacher embeddings, and the transforms that bring them to a model."""

from .clip_crop_embedding import CLIPCropEmbedding
from .embedding_record import EmbeddingRecord
from .embedding_shard import DamagedRecordError, EmbeddingShard
from .embedding_store import EmbeddingStore, MissingRecordError, dataset_fingerprint
from .keep_original_image import (
    ORIGINAL_BOXES_KEY,
    ORIGINAL_IMAGE_KEY,
    ORIGINAL_LABELS_KEY,
    KeepOriginalImage,
)
from .load_image_or_skip import LoadImageOrSkip
from .on_the_fly_embeddings import OnTheFlyEmbeddings, clip_proposals, load_proposals
from .open_vocabulary_coco import OpenVocabularyCocoDataset, OVCocoDataset
from .open_vocabulary_lvis import OpenVocabularyLVISDataset
from .pack_vild_inputs import PackViLDInputs
from .tf_resize import TFResize, legacy_bilinear
from .unfinished_sampler import UnfinishedSampler

__all__ = [
    'ORIGINAL_BOXES_KEY',
    'ORIGINAL_IMAGE_KEY',
    'ORIGINAL_LABELS_KEY',
    'CLIPCropEmbedding',
    'DamagedRecordError',
    'EmbeddingRecord',
    'EmbeddingShard',
    'EmbeddingStore',
    'KeepOriginalImage',
    'LoadImageOrSkip',
    'MissingRecordError',
    'OVCocoDataset',
    'OnTheFlyEmbeddings',
    'OpenVocabularyCocoDataset',
    'OpenVocabularyLVISDataset',
    'PackViLDInputs',
    'TFResize',
    'UnfinishedSampler',
    'clip_proposals',
    'dataset_fingerprint',
    'legacy_bilinear',
    'load_proposals',
]
