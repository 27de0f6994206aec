"""The teacher; the only room that imports open_clip."""

from .crops import CROP_SCALES, crop_windows, resize_windows
from .open_clip_teacher import OpenCLIPTeacher

__all__ = ['CROP_SCALES', 'OpenCLIPTeacher', 'crop_windows', 'resize_windows']
