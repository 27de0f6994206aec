"""The transform that attaches the teacher's region embeddings to a training sample."""

from typing import Any, Literal

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmdet_vild.embedding_store import (
    EmbeddingRecord,
    EmbeddingStore,
    MissingRecordError,
    built_store,
)
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

    Required Keys: img_id, img_path, ori_shape, img_shape, and homography_matrix if anything moved
    the image; instances, gt_bboxes and gt_bboxes_labels reveal unrecorded transforms.

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
        order: ``'score'`` takes the rows of highest score, ``'random'`` draws them, anew each time
            that the image is read.
        subset: They are taken of the ``subset`` rows of highest score; None for all.
        keep_annotated: Whether the rows of annotated boxes are kept beside the ``max_proposals``
            and the ``subset``, and not among them.
        min_visible: Rows of which a smaller fraction than this is left in the image are dropped:
            the teacher saw the whole region. 0 keeps whatever is left, as the authors do.
        allow_missing: Whether an image without a record in the store is one without regions, and
            not an error.

    Raises:
        FileNotFoundError, KeyError: Of an image: the store lacks it.
        ValueError: ``store`` is none, or ``keep_annotated`` is of one that does not say what is; of
            an image: the record does not fit it, or a transform moved the pixels without recording
            it.
    """

    def __init__(
        self,
        store: Any,
        max_proposals: Count = 300,
        order: Literal['score', 'random'] = 'score',
        min_visible: Fraction = 0.5,
        allow_missing: bool = False,
        subset: Count | None = None,
        keep_annotated: bool = False,
    ) -> None:
        self.store = built_store(store, type(self).__name__)
        self.max_proposals = max_proposals
        self.order = order
        self.min_visible = min_visible
        self.allow_missing = allow_missing
        self.subset = subset
        self.keep_annotated = keep_annotated
        version = getattr(self.store, 'header', {}).get('version', 3)
        if keep_annotated and version < 3:
            raise ValueError(
                f'the embedding store at {self.store.path}, of version {version}, does not say '
                'which rows are annotated, which keep_annotated=True needs; extract it anew, or '
                'leave keep_annotated out'
            )

    def transform(self, results: dict) -> dict:
        """Attach the embeddings to the result dict of the data pipeline."""
        check_recorded_geometry(results)
        record = self._read(results)
        projected = project_boxes(record.boxes, results.get('homography_matrix'))
        boxes = clip_boxes(projected, results['img_shape'][:2])
        keep = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIZE).all(axis=1)
        keep &= box_areas(boxes) >= self.min_visible * box_areas(projected)
        rows = self._chosen(record, keep)
        results['distill_bboxes'] = boxes[rows].astype(np.float32)
        results['distill_embeddings'] = record.embeddings[rows]
        results['distill_weights'] = record.weights[rows].astype(np.float32)
        results['distill_teacher'] = self.store.teacher
        results['distill_frame'] = frame_of(results)
        return results

    def _chosen(self, record: EmbeddingRecord, keep: np.ndarray) -> np.ndarray:
        """Indices of the rows that are taken, of those to ``keep`` (n,)."""
        apart = record.annotated & self.keep_annotated
        ranked = np.argsort(-record.scores, kind='stable')
        rows = ranked[~apart[ranked]][: self.subset]
        rows = rows[keep[rows]]
        if self.order == 'random':
            rows = np.random.permutation(rows)
        return np.concatenate([np.flatnonzero(apart & keep), rows[: self.max_proposals]])

    def _read(self, results: dict) -> EmbeddingRecord:
        try:
            record = self.store.read(results)
            if not isinstance(self.store, EmbeddingStore):  # whose writer has looked at them
                where = f'the regions of image {results["img_id"]!r} in {self.store!r}'
                record.check(where, self.store.embed_dims)
            return record
        except MissingRecordError:
            if not self.allow_missing:
                raise
            shapes = ((0, 4), (0,), (0, self.store.embed_dims))
            return EmbeddingRecord(*(np.zeros(shape, np.float32) for shape in shapes))

    def __repr__(self) -> str:
        options = ('store', 'max_proposals', 'order', 'min_visible', 'allow_missing')
        options += ('subset', 'keep_annotated')
        values = ', '.join(f'{name}={getattr(self, name)!r}' for name in options)
        return f'{type(self).__name__}({values})'


def frame_of(results: dict) -> tuple:
    """What fixes the place of boxes in the image: its shape and the recorded warp."""
    matrix = results.get('homography_matrix')
    warp = None if matrix is None else np.ravel(matrix).tolist()
    return (*results['img_shape'][:2], warp)
