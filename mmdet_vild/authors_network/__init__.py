"""The network of the authors' TensorFlow code, which their released weights need."""

from .tf_bbox_coder import TFDeltaXYWHBBoxCoder
from .tf_fpn import TFFPN
from .tf_mask_head import TFFCNMaskHead
from .tf_resize import TFResize, legacy_bilinear
from .tf_resnet import TFResNet
from .tf_roi_extractor import TFRoIExtractor
from .tf_rpn_head import TFRPNHead

__all__ = [
    'TFDeltaXYWHBBoxCoder',
    'TFFCNMaskHead',
    'TFFPN',
    'TFRPNHead',
    'TFResNet',
    'TFResize',
    'TFRoIExtractor',
    'legacy_bilinear',
]
