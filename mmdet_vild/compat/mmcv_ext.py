"""Stand-in for ``mmcv._ext``, mmcv's compiled operators, made of torchvision's and PyTorch's.

For: mmcv without compiled operators (see ``mmcv_ext_finder.py``, which loads this file
under the name ``mmcv._ext``). A two-stage detector needs ``nms`` and ``roi_align`` only.
torchvision's give bit-identical results (compared on CPU, forward and backward). On a GPU, where
mmcv and mmdet have no way in PyTorch, multi-scale deformable attention (Mask2Former, Deformable
DETR) and the sigmoid focal loss need an operator too. The signatures are those that ``mmcv/ops``
calls. Every other operator can be looked up, as ``mmcv.ops`` does when it is imported, and raises
an error when it is called.

This file imports nothing of ``mmdet_vild``: it is loaded while mmdet is imported.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

import mmcv
import torch
import torchvision  # also registers torch.ops.torchvision
from torch import Tensor


def _how_to() -> str:
    """Return how to get compiled operators for the installed family of packages."""
    try:
        old, mim, new = 'onedl-mmcv', 'onedl-mim', f'onedl-mmcv=={version("onedl-mmcv")}'
    except PackageNotFoundError:
        old, mim, new = 'mmcv mmcv-lite', 'openmim', f'mmcv=={mmcv.__version__}'
    return (
        'Only nms, average roi_align, ms_deform_attn and sigmoid_focal_loss are available without '
        'compiled operators, through torchvision and PyTorch. For the others install compiled '
        f'mmcv: `pip uninstall {old}`, `pip install {mim}`, `mim install --no-build-isolation '
        f'{new}`. It takes a wheel for your torch if there is one, and else compiles, which needs '
        'a compiler. See docs/install.md.'
    )


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(f'mmcv has no compiled operator {name!r} here. {_how_to()}')

    missing.__name__ = missing.__qualname__ = name
    return missing


def get_compiler_version() -> str:
    """Return what ``mmcv.utils.collect_env`` reports as the compiler."""
    return 'none (torchvision operators, by mmdet_vild)'


def get_compiling_cuda_version() -> str:
    """Return what ``mmcv.utils.collect_env`` reports as the CUDA compiler."""
    return 'none (torchvision operators, by mmdet_vild)'


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the kept boxes, in descending order of score.

    Args:
        boxes: Shape (n, 4), (x1, y1, x2, y2).
        scores: Shape (n,).
        iou_threshold: Boxes overlapping a better one by more are dropped.
        offset: 0, or 1 where a box from x1 to x2 is x2 - x1 + 1 wide.

    Returns:
        Tensor: Shape (k,), int64.
    """
    if offset:
        boxes = torch.cat((boxes[:, :2], boxes[:, 2:] + offset), dim=1)
    return torchvision.ops.nms(boxes, scores, iou_threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool ``input`` (n, c, h, w) over ``rois`` (r, 5) into ``output`` (r, c, ah, aw)."""
    _require_average(pool_mode, 'roi_align_forward')
    pooled = torch.ops.torchvision.roi_align(
        _computable(input),
        _computable(rois),
        spatial_scale,
        aligned_height,
        aligned_width,
        sampling_ratio,
        aligned,
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of :func:`roi_align_forward` to ``grad_input`` (n, c, h, w)."""
    _require_average(pool_mode, 'roi_align_backward')
    grad = torch.ops.torchvision._roi_align_backward(
        _computable(grad_output),
        _computable(rois),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(grad)


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Attend to ``value`` (b, k, h, d): (b, q, h * d), by mmcv's own function for a CPU.

    ``sampling_locations`` (b, q, h, l, p, 2) of 0 to 1, ``attention_weights`` (b, q, h, l, p).
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    # A list, as the host would wait for a GPU's number by number.
    shapes = value_spatial_shapes.tolist()
    with torch.autocast(value.device.type, enabled=False):
        return multi_scale_deformable_attn_pytorch(
            value, shapes, sampling_locations.to(value), attention_weights.to(value)
        )


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of :func:`ms_deform_attn_forward` to the three before the last."""
    inputs = [x.detach().requires_grad_() for x in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            inputs[0], value_spatial_shapes, value_level_start_index, *inputs[1:], im2col_step
        )
    gradients = torch.autograd.grad(output, inputs, grad_output.to(output))
    for gradient, into in zip(
        gradients, (grad_value, grad_sampling_loc, grad_attn_weight), strict=True
    ):
        into.copy_(gradient)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the focal loss of logits ``input`` (n, c) to ``output`` (n, c).

    ``target`` (n,) int64, c for background; ``weight`` (c,) of the classes, or empty.
    """
    output.copy_(_focal_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the gradient of :func:`sigmoid_focal_loss_forward`'s sum to ``grad_input`` (n, c)."""
    input = input.detach().requires_grad_()
    with torch.enable_grad():
        loss = _focal_loss(input, target, weight, gamma, alpha)
    grad_input.copy_(torch.autograd.grad(loss, input, torch.ones_like(loss))[0])


def _focal_loss(
    input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:
    one_hot = target[:, None] == torch.arange(input.size(1), device=input.device)
    loss = torchvision.ops.sigmoid_focal_loss(input, one_hot.to(input), alpha, gamma)
    return loss * weight[target][:, None] if weight.numel() else loss


def _require_average(pool_mode: int, name: str) -> None:
    if pool_mode != 1:
        raise NotImplementedError(
            f"mmcv has no compiled operator {name!r} with pool_mode='max' here. {_how_to()}"
        )


def _computable(tensor: Tensor) -> Tensor:
    # torchvision has no bfloat16 kernel; mixed precision brings such tensors here.
    return tensor.float() if tensor.dtype is torch.bfloat16 else tensor
