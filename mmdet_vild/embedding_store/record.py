"""The teacher's embeddings of the regions of one image."""

from dataclasses import dataclass

import numpy as np


@dataclass
class EmbeddingRecord:
    """The regions of one image and what the teacher saw in them.

    Attributes:
        boxes: (n, 4) float32, ``x1, y1, x2, y2`` in pixels of the original image.
        scores: (n,) float32, objectness.
        embeddings: (n, D) float16 or float32, L2-normalised.
    """

    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def check(self, where: str, embed_dims: int) -> None:
        """Refuse a record whose arrays do not fit together or are not finite.

        Args:
            where: Whose record this is, for the message.
            embed_dims: Expected width D.

        Raises:
            ValueError: The arrays have other shapes, or hold NaN or infinity.
        """
        found = [array.shape for array in (self.boxes, self.scores, self.embeddings)]
        n = len(self.boxes) if self.boxes.ndim else 0
        expected = [(n, 4), (n,), (n, embed_dims)]
        if found != expected:
            raise ValueError(
                f'{where}: expected boxes, scores and embeddings of shapes {expected}, found '
                f'{found}; were they made by another teacher?'
            )
        for name in ('boxes', 'scores', 'embeddings'):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f'{where}: the {name} hold NaN or infinity')

    def to_bytes(self) -> bytes:
        """Boxes and scores as float32, embeddings as float16, in descending order of scores."""
        order = np.argsort(-self.scores, kind='stable')
        return b''.join(
            np.ascontiguousarray(array[order], dtype).tobytes()
            for array, dtype in (
                (self.boxes, '<f4'),
                (self.scores, '<f4'),
                (self.embeddings, '<f2'),
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes, num_regions: int, embed_dims: int) -> 'EmbeddingRecord':
        """The inverse of :meth:`to_bytes`; the arrays are views of ``data``.

        Raises:
            ValueError: ``data`` has another length.
        """
        n, head = num_regions, 20 * num_regions
        if len(data) != head + 2 * n * embed_dims:
            raise ValueError(
                f'expected {head + 2 * n * embed_dims} bytes for {n} regions of width '
                f'{embed_dims}, found {len(data)}'
            )
        return cls(
            np.frombuffer(data, '<f4', 4 * n).reshape(n, 4),
            np.frombuffer(data, '<f4', n, 16 * n),
            np.frombuffer(data, '<f2', n * embed_dims, head).reshape(n, embed_dims),
        )
