"""The detector of ViLD."""

import math
from difflib import get_close_matches
from typing import Annotated, Literal

from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from torch import Tensor

from mmdet_vild.options import (
    Count,
    Fraction,
    Range,
    check_options,
    check_settings,
    checked_options,
)

from ..classifiers import CLIPTextClassifier
from ..float32 import give_float32, in_float32
from ..partial_objects import partial_objects
from ..roi_heads import ViLDRoIHead
from .open_vocabulary_mixin import OpenVocabularyMixin

_BELOW_1 = math.nextafter(1, 0)
#: No score and no part of a mask is above 1.
_ScoreThreshold = Annotated[float, Range('of 0 or more and below 1', least=0, most=_BELOW_1)]
_MaskThreshold = Annotated[float, Range('above 0 and below 1', above=0, most=_BELOW_1)]
#: mmdet's word for masks of 0 to 255.
_NoThreshold = Annotated[float, Range('below 0', most=-math.nextafter(0, 1))]
#: Pixels of the network's input; few images have more.
_BoxSize = Annotated[float, Range('from 0 to 1000', least=0, most=1000)]

_PROPOSALS = dict(
    nms_pre=Count | Literal[-1],
    max_per_img=Count,
    min_bbox_size=_BoxSize | Literal[-1],
    nms=dict(iou_threshold=Fraction),
)
_TRAINING = dict(rpn=object, rpn_proposal=_PROPOSALS, rcnn=object)
_TESTING = dict(
    rpn=_PROPOSALS,
    rcnn=dict(
        score_thr=_ScoreThreshold,
        nms=dict(iou_threshold=Fraction),
        max_per_img=Count | Literal[-1],
        mask_thr_binary=_MaskThreshold | _NoThreshold,
        with_vocabulary=bool,
        objectness_weight=Fraction | None,
        partial=dict | None,
        explain=object,
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
        TypeError: The RoI head is not a :class:`ViLDRoIHead`, or ``partial`` of ``test_cfg.rcnn``
            has other arguments than :func:`partial_objects`.
        ValueError: ``test_cfg`` or ``train_cfg`` has a threshold or a number that finds nothing, or
            a key that is misspelt or belongs into one of its dicts.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.roi_head, ViLDRoIHead):
            raise TypeError(
                f'the roi_head of {type(self).__name__} must be a ViLDRoIHead, found '
                f'{type(self.roi_head).__name__}'
            )
        _check_cfg(self.train_cfg, _TRAINING, 'train_cfg')
        check_test_cfg(self.test_cfg)
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


def check_test_cfg(test_cfg: dict | None) -> None:
    """Refuse what a ``test_cfg`` of detectors cannot mean; see :class:`ViLD`."""
    _check_cfg(test_cfg, _TESTING, 'test_cfg')
    partial = ((test_cfg or {}).get('rcnn') or {}).get('partial')
    if partial is not None:
        boxes = scores = labels = None  # of detections
        check_options('partial of test_cfg.rcnn', partial_objects, boxes, scores, labels, **partial)


def _check_cfg(settings: dict | None, known: dict, name: str) -> None:
    check_settings(settings, known, name)
    _check_keys(settings, known, name)


def _check_keys(settings: dict | None, known: dict, name: str) -> None:
    """Raise a ValueError if a key of a dict, or of those inside, is a known one, misspelt."""
    for key, value in (settings or {}).items():
        if key in known:
            if isinstance(known[key], dict) and key != 'nms':  # mmcv refuses those that it lacks
                _check_keys(value, known[key], f'{key} of {name}')
        elif near := get_close_matches(key.lower(), known, 1, 0.7):
            raise ValueError(
                f'{name} has the key {key!r}, which says nothing here; write {near[0]!r}'
            )
        elif inside := [k for k, v in known.items() if isinstance(v, dict) and key in v]:
            raise ValueError(
                f'{name} has the key {key!r}, which says nothing here; write it into '
                f'{" or ".join(inside)} of {name}'
            )
