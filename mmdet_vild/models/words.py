"""The words that a classifier compares regions with, and those of one call."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

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
        names: The C names in label order, and those of R words that compete with them and are not
            detected.
        embeddings: (C + R, D) float32, L2-normalised.
        novel: (C + R,) bool, the words that the detector has not learned from annotations.
        count: C.
    """

    names: tuple[str, ...]
    embeddings: Tensor
    novel: Tensor
    count: int

    @classmethod
    def from_text_embeddings(
        cls, text: TextEmbeddings, device: str | torch.device = 'cpu', count: int | None = None
    ) -> 'Words':
        """The first ``count`` words of text embeddings, with which the others compete."""
        embeddings = normalize(torch.from_numpy(text.embeddings), dim=1, eps=NORM_EPS)
        novel = torch.from_numpy(text.novel).to(device)
        return cls(text.names, embeddings.to(device), novel, count or len(text.names))

    def without_rivals(self) -> 'Words':
        """The C words alone."""
        rows = slice(self.count)
        return Words(self.names[rows], self.embeddings[rows], self.novel[rows], self.count)


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
