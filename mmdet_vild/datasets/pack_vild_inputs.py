"""Packing of distillation regions beside the ground truth."""

from collections.abc import Sequence

import torch
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS
from mmengine.structures import InstanceData

from mmdet_vild.options import checked_options

from .clip_crop_embedding import frame_of
from .geometry import check_only_scaled
from .keep_original_image import (
    CROWD_BOXES_KEY,
    CROWD_LABELS_KEY,
    ORIGINAL_BOXES_KEY,
    ORIGINAL_IMAGE_KEY,
    ORIGINAL_LABELS_KEY,
)

_ADDED_KEYS = (
    *(ORIGINAL_IMAGE_KEY, ORIGINAL_BOXES_KEY, ORIGINAL_LABELS_KEY),
    *(CROWD_BOXES_KEY, CROWD_LABELS_KEY, 'unreadable'),
)


@TRANSFORMS.register_module()
@checked_options
class PackViLDInputs(PackDetInputs):
    """``PackDetInputs`` that also packs what ``CLIPCropEmbedding`` attached, if it did.

    The regions become ``data_sample.distill_instances``: an ``InstanceData`` with ``bboxes``
    (n, 4), ``embeddings`` (n, D), as the store has them (float16 takes half as long to come from a
    worker), ``weights`` (n,) float32, and the meta key ``teacher``.

    Args:
        meta_keys: Keys of the results that become meta information of the sample, those which
            are there. Defaults to those of ``PackDetInputs`` and what ``KeepOriginalImage`` and
            ``LoadImageOrSkip`` add.

    Raises:
        ValueError: Of a sample: a transform moved the image after ``CLIPCropEmbedding``, or moved
            it otherwise than by one resizing while ``KeepOriginalImage`` kept a copy.
    """

    def __init__(self, meta_keys: Sequence[str] | None = None) -> None:
        super().__init__()
        self.meta_keys = (*self.meta_keys, *_ADDED_KEYS) if meta_keys is None else tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack the result dict of the data pipeline, as ``PackDetInputs`` does."""
        if ORIGINAL_IMAGE_KEY in results:
            check_only_scaled(results)
        packed = super().transform(results)
        if 'distill_bboxes' in results:
            if results['distill_frame'] != frame_of(results):
                raise ValueError(
                    f'image {results.get("img_id")!r} was transformed after CLIPCropEmbedding had '
                    'placed the regions in it; move CLIPCropEmbedding to the end of the pipeline, '
                    'right before PackViLDInputs'
                )
            packed['data_samples'].distill_instances = InstanceData(
                bboxes=torch.from_numpy(results['distill_bboxes']),
                embeddings=torch.from_numpy(results['distill_embeddings']),
                weights=torch.from_numpy(results['distill_weights']),
                metainfo={'teacher': results['distill_teacher']},
            )
        return packed
