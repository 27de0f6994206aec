"""ResNet as the authors' TensorFlow implementation has it."""

import torch.nn.functional as F
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmdet_vild.options import checked_options


class SameMaxPool2d(nn.MaxPool2d):
    """Max pooling that pads as TensorFlow's ``'SAME'``, the odd pixel at the bottom and right."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, ceil(h / stride), ceil(w / stride))."""
        padding = []
        for size in (x.shape[3], x.shape[2]):
            steps = -(-size // self.stride) - 1
            total = max(steps * self.stride + self.kernel_size - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding, value=float('-inf')))


@MODELS.register_module()
@checked_options
class TFResNet(ResNet):
    """mmdet's ResNet, with the max pooling padded as TensorFlow's ``'SAME'``.

    The convs are padded symmetrically there too, and the stride is on the 3x3 conv, as with
    mmdet's ``style='pytorch'``.
    """

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        self.maxpool = SameMaxPool2d(3, stride=2)
