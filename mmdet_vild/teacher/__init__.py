"""The teacher and the models that need it; the only room that imports open_clip."""

from .clip_on_crops import CLIPOnCrops
from .open_clip_teacher import CROP_SCALES, OpenCLIPTeacher, crop_windows
from .region_embedding_extractor import RegionEmbeddingExtractor

__all__ = [
    'CROP_SCALES',
    'CLIPOnCrops',
    'OpenCLIPTeacher',
    'RegionEmbeddingExtractor',
    'crop_windows',
]
