"""Cuts regions out of images and resizes them, many at once and on the model's device."""

from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode, resize

#: A region is seen at its own size and with half as much context again (ViLD, Sec. 3.3).
CROP_SCALES = (1.0, 1.5)
#: How a region that is no square becomes one; see :func:`resize_windows`.
CropMode = Literal['squash', 'pad', 'pad_black', 'centre_crop']
#: Windows are resized together with others up to the same one of these sizes, in pixels.
_BUCKETS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
#: Most elements of the largest intermediate array.
_MOST_ELEMENTS = 2**27
#: How many times what is seen of a thin window may be resized, to cut the rest off again.
_MOST_CUT_OFF = 8


def crop_windows(
    boxes: Tensor, scale: float, image_size: tuple[int, int], min_side: float = 0
) -> Tensor:
    """Whole-pixel windows around boxes (n, 4), ``scale`` times as large, about the same centre.

    They are (n, 4) int64 with exclusive ends, inside an image of (height, width) ``image_size``,
    and at least a pixel wide and high. A box narrower or lower than ``min_side`` counts as that
    wide or high.
    """
    height, width = image_size
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = ((boxes[:, 2:] - boxes[:, :2]) / 2).clamp(min=min_side / 2) * scale
    limit = torch.tensor([width, height], device=boxes.device)
    start = (centre - half).floor().long().clamp(min=0).minimum(limit - 1)
    end = (centre + half).ceil().long().minimum(limit).maximum(start + 1)
    return torch.cat([start, end], dim=1)


def resize_windows(
    images: Tensor,
    owners: Tensor,
    windows: Tensor,
    size: tuple[int, int],
    mode: str,
    mean: Tensor,
    std: Tensor,
) -> Tensor:
    """Resize windows of images with antialiased bicubic interpolation, as Pillow does.

    On a GPU windows of similar size, of whichever image, are resized together, by a matrix product
    for each axis. On the CPU one by one, which is faster there.

    Args:
        images: (b, 3, H, W) uint8; an image may fill the upper left corner alone.
        owners: (n,) int64 on the CPU, which image a window is of.
        windows: (n, 4) int64 on the CPU, ``x1, y1, x2, y2`` with exclusive ends, inside the image.
        size: (height, width) of the results.
        mode: ``'squash'`` changes the aspect ratio, as the authors do; ``'pad'`` keeps it;
            ``'pad_black'`` keeps it too, by a black square around the window, as EZSD does;
            ``'centre_crop'`` keeps it and cuts off the ends of the longer side, as open_clip does.
        mean, std: (3, 1, 1) on the images' device, of values of 0 to 255.

    Returns:
        (n, 3, height, width) float32 on the images' device; 0 where ``'pad'`` has filled up.
    """
    way = _resize_each if images.device.type == 'cpu' else _resize_groups
    return way(images, owners, windows, size, mode, mean, std)


def _resize_each(images, owners, windows, size, mode, mean, std) -> Tensor:
    pictures = images.permute(0, 2, 3, 1).numpy()
    # NumPy asks for huge pages, torch does not, and its page faults take as long as the resizing.
    make = np.zeros if mode == 'pad' else np.empty
    out = torch.from_numpy(make((len(windows), 3, *size), np.float32))
    kept = np.empty((3, *size), np.uint8)
    targets, offsets = _placement(windows, size, mode)
    for crop, owner, (x1, y1, x2, y2), target, (top, left) in zip(
        out, owners.tolist(), windows.tolist(), targets.tolist(), offsets.tolist(), strict=True
    ):
        # A copy, as the resizing of what is not contiguous takes twice as long.
        window = np.ascontiguousarray(pictures[owner, y1:y2, x1:x2])
        window = _black_square(window) if mode == 'pad_black' else window
        window = torch.from_numpy(window).permute(2, 0, 1)
        if target[0] * target[1] > _MOST_CUT_OFF * size[0] * size[1]:
            resized = _resize_thin(window, target, (top, left), size)
        else:
            resized = resize(window, target, InterpolationMode.BICUBIC, antialias=True)
            resized = resized[:, max(-top, 0) :, max(-left, 0) :]
            resized = resized[:, : size[0] - max(top, 0), : size[1] - max(left, 0)]
        height, width = resized.shape[1:]
        planes = kept[:, :height, :width]
        cv2.split(resized.permute(1, 2, 0).numpy(), list(planes))  # into them
        top, left = max(top, 0), max(left, 0)
        inside = crop[:, top : top + height, left : left + width]
        # While it is in the processor's cache.
        inside.copy_(torch.from_numpy(planes)).sub_(mean).div_(std)
    return out


def _black_square(window: np.ndarray) -> np.ndarray:
    """A window (h, w, 3) in the middle of a square of its longer side."""
    height, width = window.shape[:2]
    side = max(height, width)
    (top, left), square = _margins(side, height, width), np.zeros((side, side, 3), np.uint8)
    square[top : top + height, left : left + width] = window
    return square


def _margins(side, height, width) -> tuple:
    """How many black rows are above and columns left of a window in its square."""
    return (side - height) // 2, (side - width) // 2


def _resize_thin(
    window: Tensor, target: list[int], offset: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """What is left of a resized window, without resizing what is cut off."""
    down, across = (
        _weights(*(torch.tensor([v[axis]]) for v in (window.shape[1:], target, offset)), size[axis])
        for axis in (0, 1)
    )
    return (down @ window.float() @ across.mT).round().clamp(0, 255).to(torch.uint8)


def _placement(windows: Tensor, size: tuple[int, int], mode: str) -> tuple[Tensor, Tensor]:
    """The (height, width) that each window is resized to, and where in the result (top, left).

    Both (n, 2) int64; what is at negative places is cut off.
    """
    lengths = (windows[:, 2:] - windows[:, :2]).flip(1)
    if mode == 'pad_black':  # what is resized is a square
        mode, lengths = 'squash', lengths.amax(1, keepdim=True).expand_as(lengths)
    whole = torch.tensor(size, device=windows.device)
    ratios = whole / lengths.double()
    if mode == 'squash':
        targets = whole.expand_as(lengths)
    elif mode == 'pad':
        targets = (lengths * ratios.amin(1, keepdim=True)).round().long().clamp(min=1)
    else:  # torchvision's Resize and CenterCrop round these ways
        targets = (lengths * ratios.amax(1, keepdim=True) + 1e-9).long()
    gaps = whole - targets
    offsets = gaps.div(2, rounding_mode='floor') if mode == 'pad' else -(-gaps / 2).round().long()
    return targets, offsets


def _resize_groups(images, owners, windows, size, mode, mean, std) -> Tensor:
    out = images.new_empty((len(windows), 3, *size), dtype=torch.float32)
    largest = (windows[:, 2:] - windows[:, :2]).amax(dim=1)
    buckets = torch.bucketize(largest, torch.tensor(_BUCKETS))
    order = buckets.argsort(stable=True)
    plan = torch.cat([order[:, None], owners[order, None], windows[order]], dim=1)
    plan = torch.cat([plan, *(part[order] for part in _placement(windows, size, mode))], dim=1)
    if images.is_cuda:
        plan = plan.pin_memory()  # so that the host does not wait for the device's other work
    plan = plan.to(images.device, non_blocking=True)
    counts = buckets.bincount(minlength=len(_BUCKETS) + 1).tolist()
    for side, members in zip((*_BUCKETS, None), plan.split(counts), strict=True):
        if not len(members):
            continue
        side = side or int(largest.max())
        most = max(_MOST_ELEMENTS // (3 * side * max(side, size[1])), 1)
        for part in members.split(most):
            resized, filled = _resize_group(images, part[:, 1:], side, size, mode == 'pad_black')
            resized = resized.sub_(mean).div_(std)
            out[part[:, 0]] = resized * filled if mode == 'pad' else resized
    return out


def _resize_group(
    images: Tensor, plan: Tensor, side: int, size: tuple[int, int], in_square: bool
) -> tuple[Tensor, Tensor]:
    """Windows of at most ``side`` pixels, by owner, window, target and offset in (n, 9) rows.

    ``in_square`` puts each into a black one first.

    Returns (n, 3, height, width) of 0 to 255, and (n, 1, height, width) where anything is.
    """
    # Half precision has 11 bits, enough for 256 levels; tensor cores need it.
    dtype = torch.float16 if images.is_cuda else torch.float32
    owners, windows, targets, offsets = plan.split([1, 4, 2, 2], dim=1)
    end, start = windows.flip(1).split(2, dim=1)  # each y, x
    lengths = end - start
    margins = torch.zeros_like(lengths)
    if in_square:
        lengths = lengths.amax(1, keepdim=True).expand_as(lengths)
        margins = torch.stack(_margins(lengths[:, 0], *(end - start).T), dim=1)
    pixels = torch.arange(side, device=images.device)
    channels = torch.arange(3, device=images.device)
    rows = (start[:, :1] - margins[:, :1] + pixels).clamp(0, images.shape[2] - 1)
    columns = (start[:, 1:] - margins[:, 1:] + pixels).clamp(0, images.shape[3] - 1)
    which = owners[:, :, None, None], channels[:, None, None]
    cut = images[(*which, rows[:, None, :, None], columns[:, None, None])].to(dtype)
    both_axes = (axes.T.flatten() for axes in (lengths, targets, offsets))
    weights = _weights(*both_axes, max(size), side)
    if in_square:  # what is black adds nothing
        first, last = margins.T.flatten(), (margins + end - start).T.flatten()
        weights *= ((pixels >= first[:, None]) & (pixels < last[:, None]))[:, None]
    down, across = weights.chunk(2)
    down, across = down[:, None, : size[0]], across[:, None, : size[1]]
    filled = (down.sum(3) > 0)[..., None] & (across.sum(3) > 0)[:, :, None]
    resized = down.to(dtype) @ (cut @ across.to(dtype).mT)
    return resized.float().clamp_(0, 255), filled


def _weights(
    lengths: Tensor, targets: Tensor, offsets: Tensor, size: int, side: int | None = None
) -> Tensor:
    """Weights (n, size, side) of the pixels of a window's axis in those of the result."""
    side = side or int(lengths.max())
    scales = (lengths / targets.double())[:, None]
    steps = torch.arange(size, device=lengths.device) - offsets[:, None]  # (n, size)
    centres = ((steps + 0.5) * scales).float()
    pixels = torch.arange(side, device=lengths.device) + 0.5
    distances = (pixels - centres[:, :, None]) / scales.clamp(min=1).float()[:, :, None]
    weights = _cubic(distances) * (pixels < lengths[:, None, None])
    inside = (steps >= 0) & (steps < targets[:, None])
    return weights * (inside[:, :, None] / weights.sum(2, keepdim=True).clamp(min=1e-6))


def _cubic(x: Tensor) -> Tensor:
    """The cubic convolution kernel with a = -0.5, as Pillow and torch's antialiasing have it."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
