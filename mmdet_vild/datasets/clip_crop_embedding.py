"""The transform that attaches the teacher's region embeddings to a training sample."""

from typing import Any, Literal

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TASK_UTILS, TRANSFORMS

from mmdet_vild.embedding_store import EmbeddingRecord, MissingRecordError
from mmdet_vild.options import Count, Fraction, checked_options

from .geometry import box_areas, check_recorded_geometry, clip_boxes, project_boxes

#: Rows narrower or lower than this many network-input pixels have vanished.
MIN_SIZE = 1.0


@TRANSFORMS.register_module()
@checked_options
class CLIPCropEmbedding(BaseTransform):
    """Attach offline proposals and the teacher's embeddings of them (ViLD, Sec. 3.3).

    The boxes are projected once through everything that the pipeline did to the image, so put
    this right before packing.

    Required Keys:

    - img_id, img_path, ori_shape, img_shape
    - homography_matrix (absent if nothing moved the image)
    - instances, gt_bboxes, gt_bboxes_labels (optional; they reveal unrecorded transforms)

    Added Keys:

    - distill_bboxes ((n, 4) float32, ``x1, y1, x2, y2`` in network-input pixels)
    - distill_embeddings ((n, D) float16 or float32, as the store has them)
    - distill_weights ((n,) float32, how much each row counts)
    - distill_teacher (str, identity of the teacher)
    - distill_frame (what the boxes were projected through, for ``PackViLDInputs`` to check)

    Args:
        store: Where the embeddings come from: an embedding store or its config, such as
            ``dict(type='EmbeddingStore', path='data/lvis/embeddings')``.
        max_proposals: At most this many rows an image (the authors': 300).
        order: ``'score'`` takes the rows of highest objectness, ``'random'`` draws them.
        min_visible: Rows of which a smaller fraction than this is left in the image are dropped:
            the teacher saw the whole region. 0 keeps whatever is left of a region, as the
            authors do.
        allow_missing: Whether an image without a record in the store is one without regions, and
            not an error.
    """

    def __init__(
        self,
        store: Any,
        max_proposals: Count = 300,
        order: Literal['score', 'random'] = 'score',
        min_visible: Fraction = 0.5,
        allow_missing: bool = False,
    ) -> None:
        self.store = TASK_UTILS.build(store) if isinstance(store, dict) else store
        self.max_proposals = max_proposals
        self.order = order
        self.min_visible = min_visible
        self.allow_missing = allow_missing

    def transform(self, results: dict) -> dict:
        """Attach the embeddings.

        Args:
            results: Result dict of the data pipeline.

        Returns:
            The same dict with the added keys.

        Raises:
            FileNotFoundError, KeyError: The store lacks the image.
            ValueError: The record does not fit the image, or a transform moved the pixels
                without recording it.
        """
        check_recorded_geometry(results)
        record = self._read(results)
        matrix = results.get('homography_matrix')
        projected = project_boxes(record.boxes, matrix)
        boxes = clip_boxes(projected, results['img_shape'][:2])
        keep = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIZE).all(axis=1)
        keep &= box_areas(boxes) >= self.min_visible * box_areas(projected)
        rows = self._choose(np.flatnonzero(keep), record.scores)
        results['distill_bboxes'] = boxes[rows].astype(np.float32)
        results['distill_embeddings'] = record.embeddings[rows]
        results['distill_weights'] = record.weights[rows].astype(np.float32)
        results['distill_teacher'] = self.store.teacher
        results['distill_frame'] = frame_of(results)
        return results

    def _read(self, results: dict) -> EmbeddingRecord:
        try:
            return self.store.read(results)
        except MissingRecordError:
            if not self.allow_missing:
                raise
            shapes = ((0, 4), (0,), (0, self.store.embed_dims))
            return EmbeddingRecord(*(np.zeros(shape, np.float32) for shape in shapes))

    def _choose(self, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Choose at most ``max_proposals`` of the given rows."""
        if self.order == 'random':
            return np.random.permutation(rows)[: self.max_proposals]
        return rows[np.argsort(-scores[rows], kind='stable')][: self.max_proposals]

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(store={self.store}, max_proposals={self.max_proposals}, '
            f'order={self.order!r}, min_visible={self.min_visible}, '
            f'allow_missing={self.allow_missing})'
        )


def frame_of(results: dict) -> tuple:
    """What fixes the place of boxes in the image: its shape and the recorded warp."""
    matrix = results.get('homography_matrix')
    return (
        tuple(results['img_shape'][:2]),
        None if matrix is None else tuple(np.asarray(matrix).ravel().tolist()),
    )
