"""The transform that draws a name for each segment (GKC's text diversification)."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmdet_vild.embedding_store import built_store
from mmdet_vild.options import Fraction, Positive, checked_options
from mmdet_vild.vocabulary import TextEmbeddings, same_space

from .segment_embeddings import read_segments


@TRANSFORMS.register_module()
@checked_options
class DrawSynonyms(BaseTransform):
    """Draw one of the synonyms of its category for each segment.

    With a store, p(synonym | segment) is the softmax of the teacher's cosine similarities over the
    synonyms of the category; those above the threshold are equally likely, and if there is none the
    most probable one is taken. Without a store all synonyms are equally likely.

    Required Keys: gt_bboxes_labels; with a store also those of :class:`SegmentEmbeddings`.

    Added Keys: segment_synonyms ((n,) int64, which of its category's names each segment has).

    Args:
        text_embeddings: A text-embedding file with the synonyms that ``SynonymLoss`` has, by the
            teacher of the store; the authors' have one prompt, ``'a photo of {}'``.
        store: Embeddings of the segments' boxes (or of the segments alone), or its config.
        threshold: The authors' is 0.1.
        temperature: What similarities are divided by; the teacher's, 0.01 for CLIP.

    Raises:
        ValueError: The file has no synonyms, or the store is another teacher's.
    """

    def __init__(
        self,
        text_embeddings: str,
        store: Any = None,
        threshold: Fraction = 0.1,
        temperature: Positive = 0.01,
    ) -> None:
        self.path, self.text = text_embeddings, TextEmbeddings.load(text_embeddings)
        if self.text.synonym_embeddings is None:
            raise ValueError(
                f'{text_embeddings} has the average of synonyms alone; name a file that '
                'tools/encode_vocabulary.py writes now'
            )
        counts = [len(words) for words in self.text.synonyms]
        rows = self.text.synonym_embeddings
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        self._names = np.split(rows, np.cumsum(counts)[:-1])
        self.store = None if store is None else built_store(store, type(self).__name__)
        self.threshold = threshold
        self.temperature = temperature
        if self.store is not None and not same_space(self.store.teacher, self.text.teacher):
            raise ValueError(
                f'the segment embeddings come from the teacher {self.store.teacher}, and '
                f'{self.text.teacher} encoded the synonyms of {text_embeddings}; both must come '
                'from one teacher'
            )

    def transform(self, results: dict) -> dict:
        """Draw the names for the result dict of the data pipeline."""
        labels = np.asarray(results['gt_bboxes_labels'])
        if len(labels) and labels.max() >= len(self._names):
            raise ValueError(
                f'image {results.get("img_id")!r} has a segment of label {labels.max()}, but '
                f'{self.path} has {len(self._names)} categories; make it of the vocabulary of the '
                'data set'
            )
        drawn = np.zeros(len(labels), np.int64)
        embeddings = None
        if self.store is not None:
            record = read_segments(self.store, results, type(self).__name__)
            embeddings = record.embeddings[results['segment_rows']].astype(np.float32)
        for i, label in enumerate(labels.tolist()):
            names = self._names[label]
            allowed = np.arange(len(names))
            if embeddings is not None:
                chances = synonym_scores(embeddings[i], names, self.temperature)
                allowed = probable(chances, self.threshold)
            drawn[i] = np.random.choice(allowed)
        results['segment_synonyms'] = drawn
        return results

    def __repr__(self) -> str:
        options = (self.path, self.store, self.threshold, self.temperature)
        return f'{type(self).__name__}{options!r}'


def probable(chances: np.ndarray, threshold: float) -> np.ndarray:
    """Which names of (m,) may be drawn: those above the threshold, or the most probable one."""
    found = np.flatnonzero(chances > threshold)
    return found if len(found) else chances.argmax(keepdims=True)


def synonym_scores(embedding: np.ndarray, names: np.ndarray, temperature: float) -> np.ndarray:
    """p(synonym | segment) (m,) of one embedding (D,) and the names (m, D) of its category.

    The names have the length 1.
    """
    logits = names @ (embedding / np.linalg.norm(embedding)) / temperature
    chances = np.exp(logits - logits.max())
    return chances / chances.sum()
