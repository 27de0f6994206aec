"""What extractors without a detector have in common."""

import torch
from mmdet.registry import TASK_UTILS
from mmengine.model import BaseModel
from torch import nn


class TeacherAlone(BaseModel):
    """A model of mmengine that is a teacher and nothing else; its only mode is prediction.

    The test tool wants a checkpoint; nothing is taken of it.

    Args:
        teacher: Config of :class:`OpenCLIPTeacher`.
        data_preprocessor: Default: one that changes no pixels.
    """

    def __init__(self, teacher: dict, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor or dict(type='DetDataPreprocessor'))
        self.teacher = TASK_UTILS.build(teacher)
        #: DistributedDataParallel refuses a model that could learn nothing.
        self.unused = nn.Parameter(torch.zeros(()))

    def _load_from_state_dict(self, state_dict: dict, *args) -> None:
        """Nothing: whatever checkpoint the test tool was given, there is no place for it."""
