"""Stand-in for ``mmcv._ext``, mmcv's compiled operators, made of torchvision's and PyTorch's.

For: mmcv without compiled operators (see ``mmcv_ext_finder.py``, which loads this file under the
name ``mmcv._ext``). A two-stage detector needs ``nms`` and ``roi_align``; torchvision's give
bit-identical results. On a GPU, multi-scale deformable attention and the sigmoid focal loss need an
operator too, and Soft-NMS, for which a config may ask, everywhere. Every other one can be looked
up, as ``mmcv.ops`` does when it is imported, and raises an error when it is called. Names and order
of arguments are those with which ``mmcv/ops`` calls.

This file imports nothing of ``mmdet_vild``: it is loaded while mmdet is imported.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

import mmcv
import torch
import torchvision  # also registers torch.ops.torchvision
from torch import Tensor


def _how_to() -> str:
    """How to get compiled operators for the installed family of packages."""
    try:
        old, mim, new = 'onedl-mmcv', 'onedl-mim', f'onedl-mmcv=={version("onedl-mmcv")}'
    except PackageNotFoundError:
        old, mim, new = 'mmcv mmcv-lite', 'openmim', f'mmcv=={mmcv.__version__}'
    return (
        'Only nms, softnms, average roi_align, ms_deform_attn and sigmoid_focal_loss are available '
        'without compiled operators, through torchvision and PyTorch. For the others install '
        f'compiled mmcv: `pip uninstall {old}`, `pip install {mim}`, `mim install '
        f'--no-build-isolation {new}`. It takes a wheel for your torch if there is one, and else '
        'compiles, which needs a compiler. See docs/install.md.'
    )


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f'mmcv has no compiled operator {name!r} here. {_how_to()}')

    missing.__name__ = missing.__qualname__ = name
    return missing


def get_compiler_version() -> str:
    """What ``mmcv.utils.collect_env`` reports as the compiler."""
    return 'none (torchvision operators, by mmdet_vild)'


get_compiling_cuda_version = get_compiler_version


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """The indices (k,) of those of (n, 4) boxes that are kept, in descending order of score.

    With ``offset`` 1 a box from x1 to x2 is x2 - x1 + 1 wide.
    """
    if offset:
        boxes = torch.cat((boxes[:, :2], boxes[:, 2:] + offset), dim=1)
    return torchvision.ops.nms(boxes, scores, iou_threshold)


def softnms(
    boxes, scores, dets, iou_threshold: float, sigma: float, min_score: float, method: int, offset
) -> Tensor:
    """Soft-NMS of (n, 4) boxes on the CPU, where mmcv brings them (Bodla et al., 2017).

    Writes the k boxes that are left and their lowered scores to ``dets`` (n, 5), as they are taken;
    returns their indices (k,). A box of IoU o with one that is taken has its score times 0 from the
    threshold on (``method`` 0), times 1 - o from there on (1), or times exp(-o^2 / sigma) (2), and
    is left out where that is below ``min_score``.
    """
    scores, left, taken = scores.clone(), torch.arange(len(boxes)), []
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(dim=1)
    while len(left):
        best = left[scores[left].argmax()]
        dets[len(taken)] = torch.cat([boxes[best], scores[best, None]])
        taken.append(best)
        left = left[left != best]
        start = torch.maximum(boxes[best, :2], boxes[left, :2])
        end = torch.minimum(boxes[best, 2:], boxes[left, 2:])
        shared = (end - start + offset).clamp(min=0).prod(dim=1)
        overlaps = shared / (areas[best] + areas[left] - shared)
        if method == 2:
            factors = torch.exp(-(overlaps**2) / sigma)
        else:
            lowered = 1 - overlaps if method == 1 else 0.0
            factors = torch.where(overlaps >= iou_threshold, lowered, 1.0)
        scores[left] *= factors
        left = left[scores[left] >= min_score]
    return torch.stack(taken) if taken else left


def roi_align_forward(input, rois, output, argmax_y, argmax_x, **how) -> None:
    """Pool ``input`` (n, c, h, w) over ``rois`` (r, 5) into ``output`` (r, c, ah, aw)."""
    scale, size, rest = _pooling('roi_align_forward', **how)
    tensors = _computable(input), _computable(rois)
    output.copy_(torch.ops.torchvision.roi_align(*tensors, scale, *size, *rest))


def roi_align_backward(grad_output, rois, argmax_y, argmax_x, grad_input, **how) -> None:
    """Write the gradient of :func:`roi_align_forward` to ``grad_input`` (n, c, h, w)."""
    scale, size, rest = _pooling('roi_align_backward', **how)
    tensors, shape = (_computable(grad_output), _computable(rois)), grad_input.shape
    backward = torch.ops.torchvision._roi_align_backward
    grad_input.copy_(backward(*tensors, scale, *size, *shape, *rest))


def _pooling(
    name, aligned_height, aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned
) -> tuple:
    """The scale, the size of a RoI and the rest, as torchvision takes them."""
    if pool_mode != 1:
        raise NotImplementedError(
            f"mmcv has no compiled operator {name!r} with pool_mode='max' here. {_how_to()}"
        )
    return spatial_scale, (aligned_height, aligned_width), (sampling_ratio, aligned)


def _computable(tensor: Tensor) -> Tensor:
    # torchvision has no bfloat16 kernel; mixed precision brings such tensors here.
    return tensor.float() if tensor.dtype is torch.bfloat16 else tensor


def ms_deform_attn_forward(value, shapes, starts, places, weights, im2col_step) -> Tensor:
    """Attend to ``value`` (b, k, h, d): (b, q, h * d), by mmcv's own function for a CPU.

    ``places`` (b, q, h, l, p, 2) of 0 to 1 and ``weights`` (b, q, h, l, p), in l levels of the
    ``shapes`` (l, 2).
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch as attend

    sizes = shapes.tolist()  # a list, as the host would wait for a GPU's number by number
    with torch.autocast(value.device.type, enabled=False):
        return attend(value, sizes, places.to(value), weights.to(value))


def ms_deform_attn_backward(
    value, shapes, starts, places, weights, grad_output, *gradients, im2col_step
) -> None:
    """Write the ``gradients`` of :func:`ms_deform_attn_forward` for value, places and weights."""

    def attend(value, places, weights):
        return ms_deform_attn_forward(value, shapes, starts, places, weights, im2col_step)

    _write_gradients(attend, (value, places, weights), grad_output, gradients)


def sigmoid_focal_loss_forward(input, target, weight, output, gamma, alpha) -> None:
    """Write the focal loss of logits ``input`` (n, c) to ``output`` (n, c).

    ``target`` (n,) int64, c for background; ``weight`` (c,) of the classes, or empty.
    """
    one_hot = target[:, None] == torch.arange(input.size(1), device=input.device)
    loss = torchvision.ops.sigmoid_focal_loss(input, one_hot.to(input), alpha, gamma)
    output.copy_(loss * weight[target][:, None] if weight.numel() else loss)


def sigmoid_focal_loss_backward(input, target, weight, grad_input, gamma, alpha) -> None:
    """Write the gradient of :func:`sigmoid_focal_loss_forward`'s sum to ``grad_input`` (n, c)."""

    def loss(input):
        output = torch.empty_like(input)
        sigmoid_focal_loss_forward(input, target, weight, output, gamma, alpha)
        return output

    _write_gradients(loss, (input,), torch.ones_like(input), (grad_input,))


def _write_gradients(
    function: Callable, inputs: Sequence[Tensor], grad_output: Tensor, into: Sequence[Tensor]
) -> None:
    inputs = [each.detach().requires_grad_() for each in inputs]
    with torch.enable_grad():
        output = function(*inputs)
    gradients = torch.autograd.grad(output, inputs, grad_output.to(output))
    for place, gradient in zip(into, gradients, strict=True):
        place.copy_(gradient)
