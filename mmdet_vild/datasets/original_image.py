"""How a detector run by the stock tools reaches the image as it was before resizing."""

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor

from .keep_original_image import ORIGINAL_IMAGE_KEY


def original_image(data_sample: DetDataSample) -> np.ndarray:
    """The image that the pipeline loaded.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ValueError: The pipeline does not pass it on.
    """
    image = data_sample.metainfo.get(ORIGINAL_IMAGE_KEY)
    if image is None:
        raise ValueError(
            f'the sample of {data_sample.metainfo.get("img_path")} has no ori_img; put '
            'KeepOriginalImage after LoadImageFromFile in the test pipeline, and PackViLDInputs in '
            'place of PackDetInputs'
        )
    return image


def to_original(boxes: Tensor, data_sample: DetDataSample) -> Tensor:
    """Boxes (n, 4) in pixels of the network's input, in pixels of the original image."""
    scale = boxes.new_tensor(data_sample.metainfo.get('scale_factor', (1, 1))).repeat(2)
    height, width = data_sample.metainfo['ori_shape']
    limit = boxes.new_tensor([width, height] * 2)
    return torch.minimum((boxes / scale).clamp(min=0), limit)
