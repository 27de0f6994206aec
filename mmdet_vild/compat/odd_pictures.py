"""Pictures that mmcv makes 0 pixels wide, or nearly black.

For: every mmcv of both families. ``rescale_size`` rounds the shorter side of a very thin picture
to 0, at which ``Resize`` fails with ``inv_scale_x > 0``; here it is at least 1. OpenCV takes the
upper 8 of the 16 bits in which sensors and X-ray devices keep 10, 12 or 14, and their pictures are
nearly black; here they are read by the bits that are used, and a warning says so. A few hot pixels,
and labels burned in as white, do not count as use of the others.
"""

import warnings

import numpy as np

from .wrapping import wrap

#: Pictures with brighter pixels than this, of 255, use all of their bits, or nearly.
DARK = 64
#: How many pixels may be brighter than a picture is, as a share.
HOT = 1e-3


def apply() -> None:
    """Patch mmcv."""
    import mmcv
    from mmcv.image import geometric, io

    wrap(io, 'imfrombytes', with_all_bits)  # which mmcv.imread calls
    mmcv.imfrombytes = mmcv.image.imfrombytes = io.imfrombytes
    wrap(geometric, 'rescale_size', at_least_one_pixel)
    mmcv.rescale_size = geometric.rescale_size


def at_least_one_pixel(rescale_size, old_size, scale, return_scale=False) -> tuple:
    """``mmcv.rescale_size`` that never returns 0."""
    size, factor = rescale_size(old_size, scale, return_scale=True)
    size = tuple(max(side, 1) for side in size)
    return (size, factor) if return_scale else size


def with_all_bits(
    imfrombytes, content, flag='color', channel_order='bgr', backend=None
) -> np.ndarray | None:
    """``mmcv.imfrombytes`` that reads pictures of 9 to 15 bits, as such."""
    import cv2

    flags = {
        'color': cv2.IMREAD_COLOR,
        'color_ignore_orientation': cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    }
    image = imfrombytes(content, flag, channel_order, backend)
    if content[:2] == b'\xff\xd8' or flag not in flags:  # a JPEG has 8 bits
        return image
    if image is None or image.dtype != np.uint8:
        return image
    bright = (image >= DARK) & (image < 255)
    if np.count_nonzero(bright) > HOT * image.size:
        return image
    deep = cv2.imdecode(np.frombuffer(content, np.uint8), flags[flag] | cv2.IMREAD_ANYDEPTH)
    if deep is None or deep.dtype != np.uint16:
        return image
    bits = brightest(deep).bit_length()
    if not 0 < bits < 15:
        return image
    bits = max(bits, 8)
    warnings.warn(
        f'a picture of 16 bits a colour uses only {bits} of them, and is read as one of {bits} '
        'bits; convert such pictures to 8 bits, all in the same way, if that is not meant',
        stacklevel=3,
    )
    deep = np.minimum(deep >> (bits - 8), 255).astype(np.uint8)
    return deep if channel_order == 'bgr' else deep[..., ::-1]


def brightest(deep: np.ndarray) -> int:
    """The largest value that a picture of 16 bits uses, but for hot pixels and white labels."""
    used = deep[deep < 65535]
    largest = int(used.max(initial=0))
    return int(np.quantile(used, 1 - HOT)) if largest >= DARK << 8 else largest
