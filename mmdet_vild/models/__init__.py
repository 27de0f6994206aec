"""What detects: text classifiers, heads, losses and detectors, registered in mmdet's MODELS."""

from .classifiers import CLIPTextClassifier
from .detections import explained_detections
from .detectors import CLIPOnCrops, ViLD, ViLDTextCLIP, WordEncoder
from .losses import ViLDImageDistillLoss
from .nms import LazyNMSRoIHead, lazy_detections, lazy_multiclass_nms
from .roi_heads import (
    ViLDBBoxHead,
    ViLDEnsembleBBoxHead,
    ViLDRoIHead,
    check_ensemble_weight,
    geometric_mean,
)
from .timm_backbone import TimmBackbone
from .unwrapped_model import unwrapped_model
from .words import Words, asked_words, asking_for

__all__ = [
    'CLIPOnCrops',
    'CLIPTextClassifier',
    'LazyNMSRoIHead',
    'TimmBackbone',
    'ViLD',
    'ViLDBBoxHead',
    'ViLDEnsembleBBoxHead',
    'ViLDImageDistillLoss',
    'ViLDRoIHead',
    'ViLDTextCLIP',
    'WordEncoder',
    'Words',
    'asked_words',
    'asking_for',
    'check_ensemble_weight',
    'explained_detections',
    'geometric_mean',
    'lazy_detections',
    'lazy_multiclass_nms',
    'unwrapped_model',
]
