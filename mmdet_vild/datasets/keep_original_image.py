"""An image as it was loaded and annotated, for models that look at its original pixels."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from torch import Tensor

#: Key of the results, and of the meta information of a sample, with the original image.
ORIGINAL_IMAGE_KEY = 'ori_img'
#: Keys with the annotated boxes, (n, 4) ``x1, y1, x2, y2`` in its pixels, and their labels (n,).
ORIGINAL_BOXES_KEY, ORIGINAL_LABELS_KEY = 'ori_gt_bboxes', 'ori_gt_labels'
#: The same of those that are annotated as crowds, or to be ignored.
CROWD_BOXES_KEY, CROWD_LABELS_KEY = 'ori_crowd_bboxes', 'ori_crowd_labels'


@TRANSFORMS.register_module()
class KeepOriginalImage(BaseTransform):
    """Keep a copy of the image as it was loaded, and of its boxes as they were annotated.

    Put it right after ``LoadImageFromFile``. An image that :class:`LoadImageOrSkip` could not
    load has no copy.

    Required Keys: img, and instances if there are any, as the dataset gives them.

    Added Keys:

    - ori_img ((H, W, 3) uint8, BGR)
    - ori_gt_bboxes ((n, 4) float32) and ori_gt_labels ((n,) int64), without crowds
    - ori_crowd_bboxes and ori_crowd_labels, of those

    Raises:
        ValueError: The image is not a uint8 colour image.
    """

    def transform(self, results: dict) -> dict:
        """Keep copies in the result dict of the data pipeline."""
        if 'unreadable' in results:
            return results
        image = results['img']
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'image {results.get("img_id")!r}: expected (H, W, 3) uint8 pixels, found '
                f'{image.shape} {image.dtype}; load images in colour, without to_float32'
            )
        results[ORIGINAL_IMAGE_KEY] = image.copy()
        if 'instances' in results:
            kinds = [(ORIGINAL_BOXES_KEY, ORIGINAL_LABELS_KEY), (CROWD_BOXES_KEY, CROWD_LABELS_KEY)]
            for ignored, (boxes_key, labels_key) in enumerate(kinds):
                kept = [i for i in results['instances'] if bool(i.get('ignore_flag')) == ignored]
                boxes = np.array([i['bbox'] for i in kept], np.float32).reshape(-1, 4)
                results[boxes_key] = boxes
                results[labels_key] = np.array([i['bbox_label'] for i in kept], np.int64)
        return results


def original_image(data_sample: DetDataSample) -> np.ndarray:
    """The image that the pipeline loaded, (H, W, 3) uint8, BGR; a ValueError without it."""
    image = data_sample.metainfo.get(ORIGINAL_IMAGE_KEY)
    if image is None:
        raise ValueError(
            f'the sample of {data_sample.metainfo.get("img_path")} has no ori_img; put '
            'KeepOriginalImage after LoadImageFromFile in the test pipeline (in tta_pipeline, for '
            '--tta), and PackViLDInputs in place of PackDetInputs'
        )
    return image


def to_original(boxes: Tensor, data_sample: DetDataSample) -> Tensor:
    """Boxes (n, 4) in pixels of the network's input, in pixels of the original image."""
    scale = boxes.new_tensor(data_sample.metainfo.get('scale_factor', (1, 1))).repeat(2)
    height, width = data_sample.metainfo['ori_shape']
    limit = boxes.new_tensor([width, height] * 2)
    return torch.minimum((boxes / scale).clamp(min=0), limit)
