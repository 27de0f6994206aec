"""Resizing as the authors' TensorFlow implementation does it."""

import numpy as np
from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS

from mmdet_vild.options import checked_options


def legacy_bilinear(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """TensorFlow 1's ``tf.image.resize_images``: pixel i of the result is at i times the scale.

    Others put it at (i + 0.5) times the scale - 0.5. Nothing is smoothed before shrinking. An image
    (h, w, c) becomes (*shape, c) float32.
    """
    image = image.astype(np.float32)
    for axis, count in enumerate(shape):
        size = image.shape[axis]
        at = np.arange(count, dtype=np.float32) * np.float32(size / count)
        low = np.minimum(at.astype(np.int64), size - 1)
        high = np.minimum(low + 1, size - 1)
        share = np.expand_dims(at - low.astype(np.float32), (1, 2) if axis == 0 else (0, 2))
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image


@TRANSFORMS.register_module()
@checked_options
class TFResize(Resize):
    """mmdet's ``Resize``, with :func:`legacy_bilinear` for images.

    The image becomes float32, which TensorFlow does not round either.
    """

    def _resize_img(self, results: dict) -> None:
        image = results['img']
        super()._resize_img(results)
        results['img'] = legacy_bilinear(image, results['img_shape'])
