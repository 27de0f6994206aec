"""What detects: text classifiers, heads, losses and detectors, registered in mmdet's MODELS."""

from .backbones import *  # noqa: F403
from .classifiers import *  # noqa: F403
from .dense_heads import *  # noqa: F403
from .detectors import *  # noqa: F403
from .lazy_nms import lazy_detections, lazy_multiclass_nms  # noqa: F401
from .losses import *  # noqa: F403
from .partial_objects import partial_objects  # noqa: F401
from .roi_heads import *  # noqa: F403
from .segmentors import *  # noqa: F403
from .timm_backbone import TimmBackbone  # noqa: F401
from .unwrapped_model import unwrapped_model  # noqa: F401
from .words import Words  # noqa: F401
