"""``RandomAffine`` records what it does to the pixels, as other transforms of MMDetection do.

For: every mmdet of both families. Resize, RandomFlip, RandomCrop, Rotate, ... multiply their matrix
into ``results['homography_matrix']``, by which boxes from elsewhere, such as the teacher's regions,
follow the pixels. RandomAffine draws a matrix, and drops it.
"""

import numpy as np

from .wrapping import wrap


def apply() -> None:
    """Patch RandomAffine."""
    from mmdet.datasets.transforms import RandomAffine

    wrap(RandomAffine, 'transform', recording)


def recording(transform, self, results: dict) -> dict | None:
    """``RandomAffine.transform``, with the matrix."""
    drawn = []
    draw = self._get_random_homography_matrix
    self._get_random_homography_matrix = lambda *size: drawn.append(draw(*size)) or drawn[-1]
    try:
        results = transform(self, results)
    finally:
        del self._get_random_homography_matrix
    if results is not None:
        before = results.get('homography_matrix', np.eye(3, dtype=np.float32))
        results['homography_matrix'] = drawn[0] @ before
        # What is around the image in the new one is filled.
        results['pad_shape'] = results['img_shape']
    return results
