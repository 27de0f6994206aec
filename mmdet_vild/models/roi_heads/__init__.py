"""RoI heads and bbox heads."""

from .lazy_nms_roi_head import LazyNMSRoIHead
from .semantic_bbox_head import SemanticBBoxHead
from .vild_bbox_head import ViLDBBoxHead
from .vild_ensemble_bbox_head import ViLDEnsembleBBoxHead, geometric_mean
from .vild_roi_head import ViLDRoIHead

__all__ = [
    'LazyNMSRoIHead', 'SemanticBBoxHead', 'ViLDBBoxHead', 'ViLDEnsembleBBoxHead', 'ViLDRoIHead',
    'geometric_mean',
]  # fmt: skip
