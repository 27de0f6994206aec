"""Datasets with novel categories, and the transforms that bring embeddings to a model."""

from .clip_crop_embedding import CLIPCropEmbedding
from .draw_synonyms import DrawSynonyms
from .keep_original_image import (
    CROWD_BOXES_KEY,
    CROWD_LABELS_KEY,
    ORIGINAL_BOXES_KEY,
    ORIGINAL_LABELS_KEY,
    KeepOriginalImage,
    original_image,
    to_original,
)
from .load_semantic_segmentation import LoadSemanticSegmentation
from .number_segments import NumberSegments
from .open_vocabulary_coco import OpenVocabularyCocoDataset, OVCocoDataset
from .open_vocabulary_lvis import OpenVocabularyLVISDataset
from .open_vocabulary_panoptic import (
    CocoPanoptic133Dataset,
    OpenVocabularyPanopticDataset,
    OVCocoPanopticDataset,
)
from .open_vocabulary_seg import OpenVocabularySegDataset
from .pack_segment_inputs import PackSegmentInputs
from .pack_vild_inputs import PackViLDInputs
from .repeat_factor_sampler import RepeatFactorSampler
from .segment_embeddings import SegmentEmbeddings
from .segment_instances import SegmentInstances
from .semantic_sets import (
    ADE20K150Dataset,
    Cityscapes19Dataset,
    CocoStuff171Dataset,
    PascalContext59Dataset,
    PascalVOC20Dataset,
    PascalVOC21Dataset,
)

__all__ = [
    'ADE20K150Dataset', 'Cityscapes19Dataset', 'CLIPCropEmbedding', 'CocoPanoptic133Dataset',
    'CocoStuff171Dataset', 'CROWD_BOXES_KEY', 'CROWD_LABELS_KEY', 'DrawSynonyms',
    'KeepOriginalImage', 'LoadSemanticSegmentation', 'NumberSegments',
    'OpenVocabularyCocoDataset', 'OpenVocabularyLVISDataset', 'OpenVocabularyPanopticDataset',
    'OpenVocabularySegDataset', 'ORIGINAL_BOXES_KEY', 'original_image', 'ORIGINAL_LABELS_KEY',
    'OVCocoDataset', 'OVCocoPanopticDataset', 'PackSegmentInputs', 'PackViLDInputs',
    'PascalContext59Dataset', 'PascalVOC20Dataset', 'PascalVOC21Dataset', 'RepeatFactorSampler',
    'SegmentEmbeddings', 'SegmentInstances', 'to_original',
]  # fmt: skip
