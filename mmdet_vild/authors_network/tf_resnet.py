"""ResNet as the authors' TensorFlow implementation has it."""

import torch.nn.functional as F
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from torch import Tensor, nn


class SameMaxPool2d(nn.MaxPool2d):
    """Max pooling that pads as TensorFlow's ``'SAME'``: what is odd goes to the bottom and right.

    Args:
        kernel_size: In both directions.
        stride: In both directions.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__(kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, ceil(h / stride), ceil(w / stride))."""
        padding = []
        for size in (x.shape[3], x.shape[2]):
            steps = -(-size // self.stride) - 1
            total = max(steps * self.stride + self.kernel_size - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding, value=float('-inf')))


@MODELS.register_module()
class TFResNet(ResNet):
    """mmdet's ResNet, with the max pooling padded as TensorFlow's ``'SAME'``.

    The convs are padded symmetrically there too, and the stride is on the 3x3 conv, as with
    mmdet's ``style='pytorch'``.

    Args:
        *args: As :class:`mmdet.models.backbones.ResNet`.
        **kwargs: As :class:`mmdet.models.backbones.ResNet`.
    """

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        self.maxpool = SameMaxPool2d(3, stride=2)
