"""The teacher and the models that need it; the only room that imports open_clip."""

from .clip_on_crops import CLIPOnCrops
from .crops import CROP_SCALES, crop_windows, resize_windows
from .open_clip_teacher import OpenCLIPTeacher
from .region_embedding_extractor import RegionEmbeddingExtractor
from .vild_text_clip import ViLDTextCLIP

__all__ = [
    'CROP_SCALES',
    'CLIPOnCrops',
    'OpenCLIPTeacher',
    'RegionEmbeddingExtractor',
    'ViLDTextCLIP',
    'crop_windows',
    'resize_windows',
]
