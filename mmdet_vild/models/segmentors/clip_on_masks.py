"""The slow rival of GKC: the teacher itself names every mask."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor
from torch.nn.functional import interpolate, softmax

from mmdet_vild.datasets import original_image
from mmdet_vild.options import checked_options

from ..words import Words
from .gkc import GKC


@MODELS.register_module()
@checked_options
class CLIPOnMasks(GKC):
    """A segmentor in two stages: masks of a GKC, which a teacher names by their crops.

    As those whose speed GKC's paper compares with. Each mask is seen as GKC's teacher sees a
    segment: its box, grey outside of it. The segmentor says how likely it is no object, and how
    likely one of ``own_words``; what is left the teacher shares among the other words. A mask of
    no pixel keeps what the segmentor says.

    The test pipeline keeps the picture: ``KeepOriginalImage``, and ``ori_img`` in ``meta_keys``.

    Args:
        teacher: Config of :class:`OpenCLIPTeacher`, the one that encoded the vocabulary; the
            classifier's ``temperature`` is what its similarities are divided by.
        own_words: Words that the segmentor itself names, as the teacher has learned nothing of
            them.
        **kwargs: As the segmentor that the checkpoint belongs to.

    Raises:
        ValueError: Another teacher encoded the vocabulary.
    """

    def __init__(self, teacher: dict, own_words: Sequence[str] = (), **kwargs) -> None:
        super().__init__(teacher=teacher, **kwargs)
        self.own_words = frozenset(own_words)
        _ = self.teacher  # built and checked now: it is needed for every image

    def find_masks(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> tuple[list[Tensor], Tensor]:
        """Segment, crop and name; see :meth:`GKC.find_masks`."""
        logits, masks = super().find_masks(batch_inputs, batch_data_samples)
        self.teacher.to(batch_inputs.device)
        images = zip(logits, masks, batch_data_samples, strict=True)
        return [self._named(*image) for image in images], masks

    def _named(self, logits: Tensor, masks: Tensor, sample) -> Tensor:
        """Logits (Q, C + R + 1) of masks (Q, H, W), by the teacher."""
        image = original_image(sample)
        height, width = sample.metainfo['img_shape'][:2]
        whole = interpolate(
            masks[None, :, :height, :width].float(), image.shape[:2], mode='bilinear'
        )
        found = whole[0].cpu().numpy() > 0
        rows = np.flatnonzero(found.any(axis=(1, 2)))
        if not len(rows):
            return logits
        boxes = np.array([box_of(mask) for mask in found[rows]], np.float32)
        seen = self.teacher.encode_masks(image, found[rows], boxes).to(logits.device)
        words = sample.metainfo.get('words') or self.text_classifier.words
        probabilities = softmax(logits.float(), dim=-1)
        probabilities[rows] = self._combined(probabilities[rows], seen, words)
        return probabilities.log()

    def _combined(self, probabilities: Tensor, seen: Tensor, words: Words) -> Tensor:
        """(n, C + R + 1) of the segmentor's, and of embeddings (n, D) of the same masks."""
        classifier = self.text_classifier
        similarities = classifier.classify(seen, words)[:, :-1]
        if classifier.logit_scale is not None:  # what the segmentor learned is not the teacher's
            similarities = similarities * (classifier.temperature / classifier.given_temperature)
        own = torch.tensor([name in self.own_words for name in words.names], device=seen.device)
        named = softmax(similarities.masked_fill(own, -torch.inf), dim=1)
        left = probabilities[:, :-1].masked_fill(own, 0).sum(dim=1, keepdim=True)
        kept = torch.cat([own, own.new_ones(1)])
        named = torch.cat([named * left, torch.zeros_like(left)], dim=1)
        return torch.where(kept, probabilities, named)


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """``x1, y1, x2, y2`` of a mask (H, W) that is not empty, with exclusive ends."""
    down, across = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return across[0], down[0], across[-1] + 1, down[-1] + 1
