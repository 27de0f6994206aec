"""The words that a classifier compares regions with, and those of one call."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmdet_vild.vocabulary import TextEmbeddings

#: TensorFlow's ``l2_normalize`` floors the squared norm at 1e-12; see the authors' code.
NORM_EPS = 1e-6


@dataclass(frozen=True, eq=False)
class Words:
    """A vocabulary on the detector's device.

    Attributes:
        names: The C names in label order.
        embeddings: (C + R, D) float32, L2-normalised. The last R are of words that compete with
            the others, and are not detected.
        novel: (C,) bool, the words that the detector has not learned from annotations.
    """

    names: tuple[str, ...]
    embeddings: Tensor
    novel: Tensor

    @classmethod
    def from_text_embeddings(
        cls,
        text: TextEmbeddings,
        device: str | torch.device = 'cpu',
        rivals: np.ndarray | None = None,
    ) -> 'Words':
        """The words of a text-embedding file, and the embeddings (R, D) of competing ones."""
        rows = text.embeddings if rivals is None else np.vstack([text.embeddings, rivals])
        embeddings = normalize(torch.from_numpy(rows), dim=1, eps=NORM_EPS)
        return cls(text.names, embeddings.to(device), torch.from_numpy(text.novel).to(device))


#: Of this thread alone: another one may ask the same detector for other words at the same time.
_asked: ContextVar[Words | None] = ContextVar('asked words', default=None)


@contextmanager
def asking_for(words: Words | None) -> Iterator[None]:
    """Within it every classifier has these words, and without it again its own."""
    token = _asked.set(words)
    try:
        yield
    finally:
        _asked.reset(token)


def asked_words() -> Words | None:
    """What :func:`asking_for` was given, or None."""
    return _asked.get()
