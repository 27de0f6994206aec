"""The box coder of the authors' TensorFlow implementation."""

import math

import torch
from mmdet.models.task_modules.coders import LegacyDeltaXYWHBBoxCoder
from mmdet.registry import TASK_UTILS
from torch import Tensor

from mmdet_vild.options import checked_options


@TASK_UTILS.register_module()
@checked_options
class TFDeltaXYWHBBoxCoder(LegacyDeltaXYWHBBoxCoder):
    """Boxes whose width is ``x2 - x1 + 1``, decoded back to ``x2 = x1 + width - 1``.

    mmdet's legacy coder encodes alike, but decodes both corners half a pixel further out.
    """

    def decode(
        self,
        bboxes: Tensor,
        pred_bboxes: Tensor,
        max_shape: tuple[int, int] | None = None,
        wh_ratio_clip: float = 16 / 1000,
    ) -> Tensor:
        """Boxes (n, 4), ``x1, y1, x2, y2``, moved by deltas (n, 4), ``dx, dy, dw, dh``.

        With a ``max_shape``, (height, width), they are clipped to ``width - 1, height - 1``. No
        side grows to more than 1 / ``wh_ratio_clip`` of its length.
        """
        # Column by column: a tensor of these numbers would be brought to a GPU each time.
        columns = zip(pred_bboxes.unbind(1), self.stds, self.means, strict=True)
        deltas = torch.stack([column * std + mean for column, std, mean in columns], dim=1)
        size = bboxes[:, 2:] - bboxes[:, :2] + 1
        centre = bboxes[:, :2] + (0.5 + deltas[:, :2]) * size
        size = size * deltas[:, 2:].clamp(max=-math.log(wh_ratio_clip)).exp()
        boxes = torch.cat([centre - 0.5 * size, centre + 0.5 * size - 1], dim=1)
        if max_shape is not None:
            height, width = max_shape[:2]
            columns = zip(boxes.unbind(1), (width - 1, height - 1) * 2, strict=True)
            boxes = torch.stack([column.clamp(0, most) for column, most in columns], dim=1)
        return boxes
