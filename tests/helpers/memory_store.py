import numpy as np

from mmdet_vild.embedding_store import EmbeddingRecord


class Memory:
    """A store of one record, whose embeddings tell the rows apart."""

    teacher = 'memory@0'
    embed_dims = 2

    def __init__(self, boxes, scores=None, weights=None):
        n = len(boxes)
        scores = np.linspace(1, 0, n, dtype=np.float32) if scores is None else np.array(scores)
        embeddings = np.stack([np.arange(n), np.ones(n)], axis=1).astype(np.float16)
        weights = weights if weights is None else np.array(weights, np.float32)
        self.record = EmbeddingRecord(np.array(boxes, np.float32), scores, embeddings, weights)

    def read(self, results):
        return self.record
