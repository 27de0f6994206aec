"""The transform that attaches the teacher's embeddings of segments to their instances."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmdet_vild.embedding_store import EmbeddingRecord, built_store

#: Pixels by which boxes of the same segments may differ.
TOLERANCE = 2.0


@TRANSFORMS.register_module()
class SegmentEmbeddings(BaseTransform):
    """Attach what the teacher saw in each segment of the original picture.

    Crops, flips and other augmentations do not change it, so it is stored once, by
    :class:`mmdet_vild.extraction.SegmentEmbeddingExtractor`.

    Required Keys: img_id, ori_shape, segment_boxes and segment_rows, of :class:`NumberSegments` and
    :class:`SegmentInstances`.

    Added Keys: segment_embeddings ((n, D), as the store has them), segment_teacher (its identity).

    Args:
        store: An embedding store or its config, such as
            ``dict(type='EmbeddingStore', path='data/coco/gkc/segments_rn50')``.

    Raises:
        FileNotFoundError: Of an image: the store lacks it.
        ValueError: ``store`` is none; of an image: the store has other segments of it.
    """

    def __init__(self, store: Any) -> None:
        self.store = built_store(store, type(self).__name__)

    def transform(self, results: dict) -> dict:
        """Attach the embeddings to the result dict of the data pipeline."""
        record = read_segments(self.store, results, type(self).__name__)
        results['segment_embeddings'] = record.embeddings[results['segment_rows']]
        results['segment_teacher'] = self.store.teacher
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(store={self.store!r})'


def read_segments(store: Any, results: dict, name: str) -> EmbeddingRecord:
    """The record of all numbered segments of a picture, in their order.

    Raises:
        FileNotFoundError, ValueError: See :class:`SegmentEmbeddings`.
    """
    boxes = results.get('segment_boxes')
    if boxes is None or 'segment_rows' not in results:
        raise ValueError(
            f'image {results.get("img_id")!r} has no numbered segments; put NumberSegments after '
            f'what loads the annotations, and {name} after SegmentInstances'
        )
    record = store.read(results)
    same = record.boxes.shape == boxes.shape
    if not same or (np.abs(record.boxes - boxes) > TOLERANCE).any():
        raise ValueError(
            f'the store {getattr(store, "path", store)} has other segments of image '
            f'{results["img_id"]!r} than its annotations: {len(record)} there, {len(boxes)} here'
            f'{"" if len(record) != len(boxes) else ", in other places"}; number segments as the '
            'extraction did (by, crowds and novel categories alike), or extract them again'
        )
    return record
