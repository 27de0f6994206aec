"""A trained detector whose best boxes the teacher classifies too."""

import torch
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_vild.options import CountOrZero, Fraction, checked_options

from ..explained_detections import explained_detections
from ..lazy_nms import lazy_detections
from .clip_on_crops import CLIPOnCrops


@MODELS.register_module()
@checked_options
class TeacherScoredViLD(CLIPOnCrops):
    """Any variant of ViLD, with the teacher's word on the best boxes of an image.

    A score p becomes p^(1 - a) t^a, where t is the teacher's probability for a crop of the box, and
    a is one number for base and another for novel categories (F-VLM, Kuo et al., ICLR 2023,
    which has 0.35 and 0.65; there t is of the frozen backbone's features). The boxes are
    those that NMS keeps, by their best score, so that no crop is spent on another box of the same
    object. Boxes beyond the best ``best`` have the detector's own scores, and all go through
    NMS once more. No weight is trained: run it on the checkpoint of the detector, with the test
    pipeline of :class:`CLIPOnCrops`.

    Args:
        best: k, how many boxes of an image the teacher looks at.
        base_weight: a of base categories.
        novel_weight: a of novel categories.
        **kwargs: As :class:`CLIPOnCrops`.
    """

    def __init__(
        self,
        best: CountOrZero = 100,
        base_weight: Fraction = 0.35,
        novel_weight: Fraction = 0.65,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.best = best
        self.base_weight = base_weight
        self.novel_weight = novel_weight

    def _classify(self, region: InstanceData, objectness: Tensor, data_sample) -> InstanceData:
        words = data_sample.metainfo.get('words') or self.text_classifier.words
        boxes, cfg = region.bboxes.view(-1, 4), self.roi_head.test_cfg
        rows = self._best_rows(boxes, region.scores[:, : words.count])
        boxes, scores, objectness = boxes[rows], region.scores[rows], objectness[rows]
        seen = scores[: self.best]
        clip = self.crop_probabilities(boxes[: self.best], data_sample, words)
        weights = torch.where(words.novel, self.novel_weight, self.base_weight)
        unseen = scores[self.best :]
        combined = torch.cat([seen ** (1 - weights) * clip**weights, unseen])
        if self.with_objectness:
            combined = (combined * objectness[:, None]).sqrt()
        parts = {
            'text_scores': scores,
            'image_scores': torch.cat([clip, torch.full_like(unseen, torch.nan)]),
            'objectness': objectness,
            'iou_scores': region.iou_scores[rows] if 'iou_scores' in region else None,
        }
        return explained_detections(boxes, combined, cfg, words, parts)

    def _best_rows(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """The boxes of the detector's own detections, each once, the best one's first."""
        nothing = scores.new_zeros(len(scores), 1)
        _, indices = lazy_detections(
            boxes, torch.cat([scores, nothing], dim=1), self.roi_head.test_cfg
        )
        rows, order = torch.unique(indices // scores.shape[1], return_inverse=True)
        first = torch.full_like(rows, len(order)).scatter_reduce(
            0, order, torch.arange(len(order), device=order.device), 'amin'
        )
        return rows[first.argsort()]
