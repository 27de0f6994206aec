"""What detects: text classifiers, heads, losses and detectors, registered in mmdet's MODELS."""

from .classifiers import CLIPTextClassifier, vocabulary_state
from .detections import explained_detections
from .detectors import (
    CLIPOnCrops,
    OpenVocabularyMixin,
    OpenVocabularyTTA,
    ViLD,
    ViLDTextCLIP,
    WordEncoder,
)
from .losses import ViLDImageDistillLoss
from .nms import lazy_detections, lazy_multiclass_nms
from .roi_heads import (
    LazyNMSRoIHead,
    ViLDBBoxHead,
    ViLDEnsembleBBoxHead,
    ViLDRoIHead,
    geometric_mean,
)
from .unwrapped_model import unwrapped_model
from .words import Words

__all__ = [
    'CLIPOnCrops',
    'CLIPTextClassifier',
    'LazyNMSRoIHead',
    'OpenVocabularyMixin',
    'OpenVocabularyTTA',
    'ViLD',
    'ViLDBBoxHead',
    'ViLDEnsembleBBoxHead',
    'ViLDImageDistillLoss',
    'ViLDRoIHead',
    'ViLDTextCLIP',
    'WordEncoder',
    'Words',
    'explained_detections',
    'geometric_mean',
    'lazy_detections',
    'lazy_multiclass_nms',
    'unwrapped_model',
    'vocabulary_state',
]
