"""ViLD's heads, classifier and loss, registered in mmdet's MODELS."""

from .clip_text_classifier import CLIPTextClassifier
from .explained_detections import explained_detections
from .lazy_nms import LazyNMSRoIHead, lazy_detections, lazy_multiclass_nms
from .tf_bbox_coder import TFDeltaXYWHBBoxCoder
from .tf_fpn import TFFPN
from .tf_mask_head import TFFCNMaskHead
from .tf_resnet import TFResNet
from .tf_roi_extractor import TFRoIExtractor
from .tf_rpn_head import TFRPNHead
from .vild import ViLD
from .vild_bbox_head import ViLDBBoxHead
from .vild_ensemble_bbox_head import ViLDEnsembleBBoxHead, check_ensemble_weight, geometric_mean
from .vild_image_distill_loss import ViLDImageDistillLoss
from .vild_roi_head import ViLDRoIHead
from .word_encoder import WordEncoder
from .words import Words, asked_words, asking_for

__all__ = [
    'CLIPTextClassifier',
    'LazyNMSRoIHead',
    'TFDeltaXYWHBBoxCoder',
    'TFFCNMaskHead',
    'TFFPN',
    'TFRPNHead',
    'TFResNet',
    'TFRoIExtractor',
    'ViLD',
    'ViLDBBoxHead',
    'ViLDEnsembleBBoxHead',
    'ViLDImageDistillLoss',
    'ViLDRoIHead',
    'WordEncoder',
    'Words',
    'asked_words',
    'asking_for',
    'check_ensemble_weight',
    'explained_detections',
    'geometric_mean',
    'lazy_detections',
    'lazy_multiclass_nms',
]
