"""Cuts regions out of images and resizes them, many at once and on the model's device."""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode, resize

#: A region is seen at its own size and with half as much context again (ViLD, Sec. 3.3).
CROP_SCALES = (1.0, 1.5)
#: How a region that is no square becomes one; see :func:`resize_windows`.
CROP_MODES = ('squash', 'pad', 'centre_crop')
#: Windows are resized together with others up to the same one of these sizes, in pixels.
_BUCKETS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
#: Most elements of the largest intermediate array.
_MOST_ELEMENTS = 2**27


def crop_windows(boxes: Tensor, scale: float, image_size: tuple[int, int]) -> Tensor:
    """Whole-pixel windows around boxes, at least one pixel wide and high, inside the image.

    Args:
        boxes: (n, 4), ``x1, y1, x2, y2``.
        scale: How much larger than the box, about the same centre.
        image_size: (height, width).

    Returns:
        (n, 4) int64, ``x1, y1, x2, y2`` with exclusive ends.
    """
    height, width = image_size
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * scale
    limit = torch.tensor([width, height], device=boxes.device)
    start = (centre - half).floor().long().clamp(min=0).minimum(limit - 1)
    end = (centre + half).ceil().long().minimum(limit).maximum(start + 1)
    return torch.cat([start, end], dim=1)


def resize_windows(
    image: Tensor, windows: Tensor, size: tuple[int, int], mode: str = 'squash'
) -> Tensor:
    """Resize windows of an image with antialiased bicubic interpolation, as Pillow does.

    On a GPU in groups: both axes are linear maps of the window's pixels, so windows of similar
    size are resized by two batched matrix products. On the CPU one by one, which is faster there.

    Args:
        image: (3, H, W) uint8.
        windows: (n, 4) int64, ``x1, y1, x2, y2`` with exclusive ends, inside the image.
        size: (height, width) of the results.
        mode: ``'squash'`` changes the aspect ratio, as the authors do; ``'pad'`` keeps it, and
            what the window does not fill is -1; ``'centre_crop'`` keeps it and cuts off the ends
            of the longer side, as open_clip does.

    Returns:
        (n, 3, height, width) float32, 0 to 255, or -1 where nothing is.
    """
    return (_resize_groups if image.is_cuda else _resize_each)(image, windows, size, mode)


def _resize_each(image: Tensor, windows: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    out = image.new_empty((len(windows), 3, *size), dtype=torch.float32)
    if mode == 'pad':
        out.fill_(-1)
    targets, offsets = _placement(windows, size, mode)
    for i, (x1, y1, x2, y2) in enumerate(windows.tolist()):
        (height, width), (top, left) = targets[i].tolist(), offsets[i].tolist()
        crop = image[:, y1:y2, x1:x2]
        crop = resize(crop, [height, width], InterpolationMode.BICUBIC, antialias=True)
        crop = crop[:, max(-top, 0) :, max(-left, 0) :]
        top, left = max(top, 0), max(left, 0)
        crop = crop[:, : size[0] - top, : size[1] - left]
        out[i, :, top : top + crop.shape[1], left : left + crop.shape[2]] = crop
    return out


def _placement(windows: Tensor, size: tuple[int, int], mode: str) -> tuple[Tensor, Tensor]:
    """What each window is resized to, and where in the result that starts.

    Returns:
        Two (n, 2) int64 of height and width, and of top and left; negative ones are cut off.
    """
    lengths = (windows[:, 2:] - windows[:, :2]).flip(1)
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


def _resize_groups(image: Tensor, windows: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    image = image.contiguous()  # a plane a channel, to gather from
    out = image.new_empty((len(windows), 3, *size), dtype=torch.float32)
    lengths = windows[:, 2:] - windows[:, :2]  # (n, 2) width, height
    largest = lengths.amax(dim=1)
    edges = torch.tensor(_BUCKETS, device=windows.device)
    buckets = torch.bucketize(largest, edges)
    for bucket in buckets.unique().tolist():
        members = (buckets == bucket).nonzero().flatten()
        side = _BUCKETS[bucket] if bucket < len(_BUCKETS) else int(largest[members].max())
        most = max(_MOST_ELEMENTS // (3 * side * max(side, size[1])), 1)
        for part in members.split(most):
            out[part] = _resize_group(image, windows[part], side, size, mode)
    return out


def _resize_group(
    image: Tensor, windows: Tensor, side: int, size: tuple[int, int], mode: str
) -> Tensor:
    # Half precision has 11 bits, enough for 256 levels; tensor cores need it.
    dtype = torch.float16 if image.is_cuda else torch.float32
    offsets = torch.arange(side, device=image.device)
    columns = (windows[:, 0, None] + offsets).clamp(max=image.shape[2] - 1)
    rows = (windows[:, 1, None] + offsets).clamp(max=image.shape[1] - 1)
    pixels = image[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1).to(dtype)
    lengths = (windows[:, 2:] - windows[:, :2]).flip(1)  # (n, 2) height, width
    targets, offsets = _placement(windows, size, mode)
    down, across = (
        _weights(lengths[:, axis], targets[:, axis], offsets[:, axis], size[axis], side).to(dtype)
        for axis in (0, 1)
    )
    resized = pixels @ across.transpose(1, 2)[:, None]  # (n, 3, side, width)
    resized = (down[:, None] @ resized).float().clamp(0, 255)
    if mode == 'pad':
        filled = (down.sum(2) > 0)[:, :, None] & (across.sum(2) > 0)[:, None, :]
        resized = torch.where(filled[:, None], resized, resized.new_tensor(-1.0))
    return resized


def _weights(lengths: Tensor, targets: Tensor, offsets: Tensor, size: int, side: int) -> Tensor:
    """Weights (n, size, side) of the pixels of a window's axis in those of the result."""
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
