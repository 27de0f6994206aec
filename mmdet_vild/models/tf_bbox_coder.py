"""The box coder of the authors' TensorFlow implementation."""

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
            wh_ratio_clip: Largest change of the width or height.

        Returns:
            (n, 4) boxes.
        """
        boxes = super().decode(bboxes, pred_bboxes, wh_ratio_clip=wh_ratio_clip)
        boxes = boxes + boxes.new_tensor([0.5, 0.5, -0.5, -0.5])
        if max_shape is not None:
            height, width = max_shape[:2]
            limit = boxes.new_tensor([width - 1, height - 1] * 2)
            boxes = torch.minimum(boxes.clamp(min=0), limit)
        return boxes
