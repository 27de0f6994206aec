"""Coordinates under mixed precision: bfloat16 moves one of 700 pixels by up to 2.

mmdet makes anchors in the precision of the RPN's scores, and its RoI extractors round RoIs to that
of the feature maps.
"""

from typing import Any

from torch import Tensor, nn


def in_float32(values: Any) -> Any:
    """Tensors of lower precision in float32, also inside of tuples and lists."""
    if isinstance(values, (tuple, list)):
        return type(values)(map(in_float32, values))
    return values.float() if isinstance(values, Tensor) else values


def give_float32(module: nn.Module) -> None:
    """From now on the module returns float32, whatever it computes in."""
    module.register_forward_hook(lambda module, inputs, outputs: in_float32(outputs))
