"""The detector of ViLD."""

from typing import Literal

from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from torch import Tensor

from mmdet_vild.options import Count, Fraction, NotNegative, check_settings, checked_options

from ..classifiers import CLIPTextClassifier
from ..float32 import give_float32, in_float32
from ..roi_heads import ViLDRoIHead
from .open_vocabulary_mixin import OpenVocabularyMixin

_PROPOSALS = dict(max_per_img=Count, nms=dict(iou_threshold=Fraction))
_TRAINING = dict(rpn_proposal=_PROPOSALS)
_TESTING = dict(
    rpn=_PROPOSALS,
    rcnn=dict(
        score_thr=float,
        nms=dict(iou_threshold=Fraction),
        max_per_img=Count | Literal[-1],
        mask_thr_binary=float,
        with_vocabulary=bool,
        objectness_weight=Fraction | None,
        partial=dict(overlap=Fraction, score_ratio=NotNegative),
    ),
)


@MODELS.register_module()
@checked_options
class ViLD(OpenVocabularyMixin, TwoStageDetector):
    """A two-stage detector of any words (ViLD, Fig. 2 and 3).

    With ``with_vocabulary=False`` in ``test_cfg.rcnn``, the words of the vocabulary do not compete
    with those that are asked for.

    Args:
        *args, **kwargs: As :class:`OpenVocabularyMixin` and mmdet's ``TwoStageDetector``.

    Raises:
        TypeError: The RoI head is not a :class:`ViLDRoIHead`.
        ValueError: ``test_cfg`` or ``train_cfg`` has a threshold or a number that finds nothing.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.roi_head, ViLDRoIHead):
            raise TypeError(
                f'the roi_head of {type(self).__name__} must be a ViLDRoIHead, found '
                f'{type(self.roi_head).__name__}'
            )
        check_settings(self.train_cfg, _TRAINING, 'train_cfg')
        check_settings(self.test_cfg, _TESTING, 'test_cfg')
        if self.with_rpn:
            give_float32(self.rpn_head)

    @property
    def text_classifier(self) -> CLIPTextClassifier:
        """CLIPTextClassifier: that of the bbox head, without a search through all modules."""
        return self.roi_head.bbox_head.fc_cls

    @property
    def rivals(self) -> bool:
        """bool: see :class:`OpenVocabularyMixin`."""
        return self.roi_head.test_cfg.get('with_vocabulary', True)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Feature maps (N, C, H, W) in float32, as RoI extractors need them; see ``float32.py``."""
        return in_float32(super().extract_feat(batch_inputs))

    def check_any_words(self) -> None:
        """Raise a ValueError if the mask head has a mask for each category of the training."""
        if self.roi_head.with_mask and not getattr(self.roi_head.mask_head, 'class_agnostic', True):
            raise ValueError(
                'the mask head has a mask for each category of the training, and none for other '
                'words; words can be asked for where it was trained with class_agnostic=True'
            )
