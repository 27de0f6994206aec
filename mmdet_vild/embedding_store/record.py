"""The teacher's embeddings of the regions of one image."""

from dataclasses import dataclass

import numpy as np

#: The part of its length by which an embedding may differ in float16.
KEPT_LENGTH = 0.01


@dataclass
class EmbeddingRecord:
    """The regions of one image and what the teacher saw in them.

    Attributes:
        boxes: (n, 4) float32, ``x1, y1, x2, y2`` in pixels of the original image.
        scores: (n,) float32, objectness.
        embeddings: (n, D) float16 or float32, L2-normalised.
        weights: (n,) float32, finite and at least 0: how much each region counts in a loss. 1 each
            where left out, and in stores of version 1.
        annotated: (n,) bool: which regions are annotated boxes. None of them where left out, and in
            stores of versions 1 and 2.
    """

    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray
    weights: np.ndarray | None = None
    annotated: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.annotated is None:
            self.annotated = np.zeros(len(self.scores), bool)
        if self.weights is None:
            self.weights = np.ones_like(self.scores, np.float32)

    def __len__(self) -> int:
        return len(self.boxes)

    def check(self, where: str, embed_dims: int) -> None:
        """Refuse a record whose arrays do not fit together, or are not ``embed_dims`` wide.

        Raises:
            ValueError: The arrays have other shapes, or hold NaN or infinity, a weight is negative,
                or an embedding is zero or of another length in float16, as it is stored; the
                message begins with ``where``.
        """
        found = {name: array.shape for name, array in vars(self).items()}
        n = len(self.boxes) if self.boxes.ndim else 0
        expected = dict(boxes=(n, 4), scores=(n,), embeddings=(n, embed_dims))
        expected |= dict(weights=(n,), annotated=(n,))
        if found != expected:
            raise ValueError(
                f'{where}: expected the shapes {expected}, found {found}; were they made by '
                'another teacher?'
            )
        for name, array in vars(self).items():
            if array.dtype.kind not in 'iufb' or not np.isfinite(array).all():
                raise ValueError(f'{where}: the {name} hold NaN, infinity or no numbers')
        if (self.weights < 0).any():
            raise ValueError(f'{where}: a weight is {self.weights.min()}; expected at least 0')
        with np.errstate(over='ignore'):
            stored = self.embeddings.astype(np.float16)
        lengths, kept = (
            np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (self.embeddings, stored)
        )
        wrong = (lengths == 0) | (np.abs(kept - lengths) > KEPT_LENGTH * lengths)
        if wrong.any():
            row = wrong.argmax()
            raise ValueError(
                f'{where}: that of region {row} has the length {lengths[row]:.3g}, and in float16, '
                f'as it is stored, {kept[row]:.3g}; expected about 1. Look at the weights of the '
                'teacher, and at model.teacher.autocast'
            )

    def to_bytes(self, version: int = 3) -> bytes:
        """Embeddings as float16, all else as float32, in descending order of scores.

        A store of version 2 or 1, which an older release began, does not say what is annotated.

        Raises:
            ValueError: A store of version 1 cannot hold the weights.
        """
        arrays = [(self.boxes, '<f4'), (self.scores, '<f4'), (self.embeddings, '<f2')]
        if version > 1:
            arrays.insert(2, (self.weights, '<f4'))
        elif (self.weights != 1).any():
            raise ValueError(
                'a store of version 1 cannot hold weights other than 1; write into a new folder'
            )
        if version > 2:
            arrays.append((self.annotated, '?'))
        order = np.argsort(-self.scores, kind='stable')
        return b''.join(np.ascontiguousarray(a[order], dtype).tobytes() for a, dtype in arrays)

    @classmethod
    def from_bytes(
        cls, data: bytes, num_regions: int, embed_dims: int, version: int = 3
    ) -> 'EmbeddingRecord':
        """The inverse of :meth:`to_bytes`; the arrays are views of ``data``.

        Raises:
            ValueError: ``data`` has another length.
        """
        n = num_regions
        head = (24 if version > 1 else 20) * n
        tail = head + 2 * n * embed_dims
        expected = tail + (n if version > 2 else 0)
        if len(data) != expected:
            raise ValueError(
                f'expected {expected} bytes for {n} regions of width {embed_dims}, found '
                f'{len(data)}'
            )
        return cls(
            np.frombuffer(data, '<f4', 4 * n).reshape(n, 4),
            np.frombuffer(data, '<f4', n, 16 * n),
            np.frombuffer(data, '<f2', n * embed_dims, head).reshape(n, embed_dims),
            np.frombuffer(data, '<f4', n, 20 * n) if version > 1 else None,
            np.frombuffer(data, '?', n, tail) if version > 2 else None,
        )
