"""The words that a classifier compares regions with."""

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
        embeddings: (V, D) float32, L2-normalised; a row a word, so that V = C + R, or several.
        novel: (C + R,) bool, the words that the detector has not learned from annotations.
        count: C.
        owners: (V,) int64, which word each row is of, where words have several rows.
    """

    names: tuple[str, ...]
    embeddings: Tensor
    novel: Tensor
    count: int
    owners: Tensor | None = None

    @classmethod
    def from_text_embeddings(
        cls,
        text: TextEmbeddings,
        device: str | torch.device = 'cpu',
        count: int | None = None,
        by_synonym: bool = False,
    ) -> 'Words':
        """The first ``count`` words of text embeddings, with which the others compete.

        With ``by_synonym`` a word has a row for each of its synonyms.
        """
        rows, owners = text.embeddings, None
        if by_synonym:
            rows = text.synonym_embeddings
            counts = torch.tensor([len(synonyms) for synonyms in text.synonyms])
            owners = torch.arange(len(counts)).repeat_interleave(counts).to(device)
        embeddings = normalize(torch.from_numpy(rows), dim=-1, eps=NORM_EPS).to(device)
        novel = torch.from_numpy(text.novel).to(device)
        return cls(text.names, embeddings, novel, count or len(text.names), owners)
