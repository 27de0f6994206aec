"""The words that a classifier compares regions with."""

from collections.abc import Callable
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
        pictures: (C + R,) bool, the words in whose place pictures were given, if there are any.
    """

    names: tuple[str, ...]
    embeddings: Tensor
    novel: Tensor
    count: int
    owners: Tensor | None = None
    pictures: Tensor | None = None

    @classmethod
    def from_text_embeddings(
        cls,
        text: TextEmbeddings,
        device: str | torch.device = 'cpu',
        count: int | None = None,
        by_synonym: bool = False,
    ) -> 'Words':
        """The first ``count`` words, by default all, with which the others compete.

        With ``by_synonym`` a word has a row for each of its synonyms.
        """
        rows, owners = text.embeddings, None
        if by_synonym:
            rows = text.synonym_embeddings
            counts = torch.tensor([len(synonyms) for synonyms in text.synonyms])
            owners = torch.arange(len(counts)).repeat_interleave(counts).to(device)
        embeddings = normalize(torch.from_numpy(rows), dim=-1, eps=NORM_EPS).to(device)
        novel = torch.from_numpy(text.novel).to(device)
        pictures = torch.from_numpy(text.pictures).to(device) if text.pictures.any() else None
        return cls(text.names, embeddings, novel, count or len(text.names), owners, pictures)


def level_pictures(similar: Callable[[Words], Tensor], words: Words, own: Words) -> Tensor:
    """Similarities of an image's regions, in which pictures are on the level of texts.

    To any region a CLIP picture is far more similar than any text is (the modality gap), and would
    win every softmax. What counts here is how much more similar one region is to it than the
    image's regions on average, to which it is as similar as the texts on average.

    Args:
        similar: Gives the similarities (..., C + R) of the regions of one image with words.
        words: The C + R words.
        own: The vocabulary of the detector, whose texts count if the words have none. If it has
            none either, nothing is changed.
    """
    similarities = similar(words)
    if words.pictures is None:
        return similarities
    texts, pictures = similarities, words.pictures
    if pictures.all():
        texts, pictures = similar(own), own.pictures
        if pictures is None:
            pictures = torch.zeros_like(own.novel)
        if pictures.all():
            return similarities
    level = texts[..., ~pictures].mean(-1)
    gap = (similarities - level[..., None]).flatten(0, -2).mean(0)
    return similarities - gap * words.pictures
