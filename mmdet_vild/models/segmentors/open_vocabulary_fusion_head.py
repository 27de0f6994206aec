"""From queries to a map of words, and to instances of them."""

import copy
from collections.abc import Iterator, Sequence

import torch
from mmdet.models.seg_heads import MaskFormerFusionHead
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.structures import PixelData
from torch import Tensor
from torch.nn.functional import interpolate, softmax

from ..words import Words

#: Most elements of what is computed of some of the words for all pixels: 64 MB in float32.
MOST_ELEMENTS = 2**24


@MODELS.register_module()
class OpenVocabularyFusionHead(MaskFormerFusionHead):
    """mmdet's fusion head, for the words of each image, and also for semantic maps.

    ``semantic_on``, ``instance_on`` and ``panoptic_on`` in ``test_cfg`` say what is found.
    """

    def predict(
        self,
        mask_cls_results: Sequence[Tensor],
        mask_pred_results: Tensor,
        batch_data_samples: SampleList,
        rescale: bool = False,
        words: Sequence[Words | None] | None = None,
        **kwargs,
    ) -> list[dict]:
        """What is found in each image of a batch, as mmdet's, and ``sem_results`` too.

        Args:
            mask_cls_results: Logits (Q, C + R + 1) of each image, no object last.
            mask_pred_results: Mask logits (B, Q, H, W) of the padded batch.
            batch_data_samples: Of each image ``img_shape`` and ``ori_shape``.
            rescale: Whether results are of the original size.
            words: C words that an image asks for, and R that compete with them; default its own,
                without any that do.
            **kwargs: Not used.
        """
        results = []
        words = words or [None] * len(batch_data_samples)
        images = zip(mask_cls_results, mask_pred_results, batch_data_samples, words, strict=True)
        for logits, masks, sample, asked in images:
            count, result = self.num_classes if asked is None else asked.count, {}
            # mmdet resizes all masks, whatever it is to find.
            if self.test_cfg.get('panoptic_on', True) or self.test_cfg.get('instance_on', False):
                detected = softmax(logits.float(), dim=-1)[:, :count]
                # mmdet takes the softmax of these: the same probabilities, and what is left of 1.
                none = (1 - detected.sum(dim=1, keepdim=True)).clamp(min=0)
                fusion = self._of_words(count, asked is None, len(logits))
                mmdet = super(OpenVocabularyFusionHead, fusion).predict
                whole = torch.cat([detected, none], dim=1).log()
                result = mmdet(whole[None], masks[None], [sample], rescale)[0]
            if self.test_cfg.get('semantic_on', False):
                shape, size = (tuple(sample.get(f'{key}_shape')[:2]) for key in ('img', 'ori'))
                size = size if rescale else shape
                result['sem_results'] = self.semantic_postprocess(logits, masks, shape, size, count)
            results.append(result)
        return results

    def _of_words(self, count: int, own: bool, queries: int) -> 'OpenVocabularyFusionHead':
        """Itself for some words, of which all are things if they are not its own."""
        fusion = copy.copy(self)
        if not own:
            fusion.num_classes = fusion.num_things_classes = count
            fusion.num_stuff_classes = 0
        at_most = min(self.test_cfg.get('max_per_image', 100), queries * count)
        fusion.test_cfg = {**self.test_cfg, 'max_per_image': at_most, 'semantic_on': False}
        return fusion

    def semantic_postprocess(
        self,
        mask_cls: Tensor,
        mask_pred: Tensor,
        img_shape: tuple[int, int] | None = None,
        size: tuple[int, int] | None = None,
        count: int | None = None,
    ) -> PixelData:
        """A map of words: argmax_c of S_c(x) = sum_q p_qc sigmoid(m_q(x)), p without no object.

        Words are taken some at a time, see :func:`word_scores`, so that 847 need no gigabyte.

        Args:
            mask_cls: Logits (Q, C + R + 1), no object last.
            mask_pred: Mask logits (Q, H, W) of the padded input.
            img_shape: (height, width) of the image in it; default all.
            size: That of the map; default ``img_shape``.
            count: C; default all that are not no object.

        Returns:
            ``sem_seg`` (1, height, width) int64. Pixels where another word than the first C wins
            are ``ignore_index``, which is in the meta information.
        """
        img_shape = tuple(mask_pred.shape[1:]) if img_shape is None else tuple(img_shape)
        size = img_shape if size is None else tuple(size)
        count = mask_cls.shape[1] - 1 if count is None else count
        best = mask_pred.new_full(size, -1.0, dtype=torch.float32)
        labels = torch.zeros(size, dtype=torch.long, device=mask_pred.device)
        for start, scores in word_scores(mask_cls, mask_pred, img_shape, size):
            highest, which = scores.max(dim=0)
            better = highest > best
            labels = torch.where(better, which + start, labels)
            best = torch.where(better, highest, best)
        ignore_index = 255 if count <= 255 else 65535
        labels = labels.masked_fill(labels >= count, ignore_index)
        return PixelData(sem_seg=labels[None], metainfo=dict(ignore_index=ignore_index))


def word_scores(
    mask_cls: Tensor, mask_pred: Tensor, img_shape: tuple[int, int], size: tuple[int, int]
) -> Iterator[tuple[int, Tensor]]:
    """S_c(x) = sum_q p_qc sigmoid(m_q(x)), p without no object, of some words c at a time.

    As the authors' code has it, S is cut to the image and then resized; mmdet resizes the mask
    logits, which differs at borders.

    Args:
        mask_cls, mask_pred, img_shape, size: See
            :meth:`OpenVocabularyFusionHead.semantic_postprocess`.

    Yields:
        The first of the words, and the scores (c, height, width) float32 of these.
    """
    with torch.autocast(mask_pred.device.type, enabled=False):
        weights = softmax(mask_cls.float(), dim=-1)[:, :-1].t()
        masks = mask_pred.float()[:, : img_shape[0], : img_shape[1]].sigmoid()
        pixels = max(img_shape[0] * img_shape[1], size[0] * size[1])
        some = max(MOST_ELEMENTS // pixels, 1)
        for start in range(0, len(weights), some):
            scores = torch.einsum('cq,qhw->chw', weights[start : start + some], masks)
            if size != img_shape:
                scores = interpolate(scores[None], size, mode='bilinear')[0]
            yield start, scores
