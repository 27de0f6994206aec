"""The box coder of the authors' TensorFlow implementation."""

import math

import torch
from mmdet.models.task_modules.coders import LegacyDeltaXYWHBBoxCoder
from mmdet.registry import TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module()
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
        """As :meth:`mmdet.models.task_modules.coders.LegacyDeltaXYWHBBoxCoder.decode`.

        Args:
            bboxes: (n, 4) boxes, ``x1, y1, x2, y2``.
            pred_bboxes: (n, 4) deltas, ``dx, dy, dw, dh``.
            max_shape: (height, width); the result is clipped to ``width - 1, height - 1``.
            wh_ratio_clip: 1 / the largest growth of the width or height.

        Returns:
            (n, 4) boxes.
        """
        deltas = pred_bboxes * pred_bboxes.new_tensor(self.stds) + pred_bboxes.new_tensor(
            self.means
        )
        size = bboxes[:, 2:] - bboxes[:, :2] + 1
        centre = bboxes[:, :2] + (0.5 + deltas[:, :2]) * size
        size = size * deltas[:, 2:].clamp(max=-math.log(wh_ratio_clip)).exp()
        boxes = torch.cat([centre - 0.5 * size, centre + 0.5 * size - 1], dim=1)
        if max_shape is not None:
            height, width = max_shape[:2]
            limit = boxes.new_tensor([width - 1, height - 1] * 2)
            boxes = torch.minimum(boxes.clamp(min=0), limit)
        return boxes
