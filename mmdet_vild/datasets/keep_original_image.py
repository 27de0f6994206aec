"""The image as it was loaded, for models that look at its original pixels."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

#: Key of the results, and of the meta information of a sample, with the original image.
ORIGINAL_IMAGE_KEY = 'ori_img'


@TRANSFORMS.register_module()
class KeepOriginalImage(BaseTransform):
    """Keep a copy of the image as it was loaded.

    Put it right after ``LoadImageFromFile``.

    Required Keys:

    - img, ori_shape

    Added Keys:

    - ori_img ((H, W, 3) uint8, BGR)
    """

    def transform(self, results: dict) -> dict:
        """Keep a copy of ``results['img']``.

        Args:
            results: Result dict of the data pipeline.

        Returns:
            The same dict with ``ori_img``.

        Raises:
            ValueError: The image is not a uint8 colour image, or it has been transformed.
        """
        image = results['img']
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'image {results.get("img_id")!r}: expected (H, W, 3) uint8 pixels, found '
                f'{image.shape} {image.dtype}; load images in colour, without to_float32'
            )
        if (
            'homography_matrix' in results
            or results.get('flip')
            or image.shape[:2] != tuple(results['ori_shape'][:2])
        ):
            raise ValueError(
                f'image {results.get("img_id")!r} has been transformed already; put '
                'KeepOriginalImage right after LoadImageFromFile'
            )
        results[ORIGINAL_IMAGE_KEY] = image.copy()
        return results
