"""Loads an image, or says why it cannot."""

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import TRANSFORMS

from mmdet_vild.options import checked_options


@TRANSFORMS.register_module()
@checked_options
class LoadImageOrSkip(LoadImageFromFile):
    """mmcv's, for an extraction that shall not stop at an image that cannot be read.

    Such an image becomes a black one with the reason in ``unreadable``, which ``PackViLDInputs``
    passes on and :class:`EmbeddingStoreWriter` reports at the end; the store gets no record of it.
    """

    def transform(self, results: dict) -> dict:
        """Load ``results['img_path']``."""
        reason = ''
        try:
            loaded = super().transform(results)
        except Exception as error:  # decoders raise whatever they like
            loaded, reason = None, repr(error)
        if loaded is not None and loaded['img'] is not None:
            return loaded
        image = np.zeros((32, 32, 3), np.float32 if self.to_float32 else np.uint8)
        return {
            **results,
            'img': image,
            'img_shape': image.shape[:2],
            'ori_shape': image.shape[:2],
            'unreadable': f'{results["img_path"]}: {reason or "no image in it"}',
        }
