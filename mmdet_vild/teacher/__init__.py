"""The teacher; the only room that imports open_clip."""

from .crops import CROP_SCALES, crop_windows
from .open_clip_teacher import OpenCLIPTeacher
from .teacher_tuner import TeacherTuner
from .tuned_weights import write_tuned_weights

__all__ = ['CROP_SCALES', 'OpenCLIPTeacher', 'TeacherTuner', 'crop_windows', 'write_tuned_weights']
