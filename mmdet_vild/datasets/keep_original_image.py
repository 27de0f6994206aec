"""An image as it was loaded and annotated, for models that look at its original pixels."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

#: Key of the results, and of the meta information of a sample, with the original image.
ORIGINAL_IMAGE_KEY = 'ori_img'
#: Keys with the annotated boxes, (n, 4) ``x1, y1, x2, y2`` in its pixels, and their labels (n,).
ORIGINAL_BOXES_KEY, ORIGINAL_LABELS_KEY = 'ori_gt_bboxes', 'ori_gt_labels'


@TRANSFORMS.register_module()
class KeepOriginalImage(BaseTransform):
    """Keep a copy of the image as it was loaded, and of its boxes as they were annotated.

    Put it right after ``LoadImageFromFile``. An image that :class:`LoadImageOrSkip` could not
    load has no copy.

    Required Keys:

    - img, ori_shape
    - instances (optional, as the dataset gives them)

    Added Keys:

    - ori_img ((H, W, 3) uint8, BGR)
    - ori_gt_bboxes ((n, 4) float32) and ori_gt_labels ((n,) int64), without crowds
    """

    def transform(self, results: dict) -> dict:
        """Keep copies.

        Args:
            results: Result dict of the data pipeline.

        Returns:
            The same dict with the added keys.

        Raises:
            ValueError: The image is not a uint8 colour image, or it has been transformed.
        """
        if 'unreadable' in results:
            return results
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
        if 'instances' in results:
            kept = [i for i in results['instances'] if not i.get('ignore_flag')]
            boxes = np.array([i['bbox'] for i in kept], np.float32).reshape(-1, 4)
            results[ORIGINAL_BOXES_KEY] = boxes
            results[ORIGINAL_LABELS_KEY] = np.array([i['bbox_label'] for i in kept], np.int64)
        return results
