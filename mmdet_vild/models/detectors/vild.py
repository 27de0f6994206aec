"""The detector of ViLD."""

from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from torch import Tensor

from mmdet_vild.options import check_option

from ..classifiers import CLIPTextClassifier
from ..float32 import give_float32, in_float32
from ..roi_heads import ViLDRoIHead
from .open_vocabulary import OpenVocabularyMixin


@MODELS.register_module()
class ViLD(OpenVocabularyMixin, TwoStageDetector):
    """A two-stage detector of any words (ViLD, Fig. 2 and 3).

    With ``with_vocabulary=False`` in ``test_cfg.rcnn``, the words of the vocabulary do not compete
    with those that are asked for.

    Args:
        *args: As :class:`mmdet.models.TwoStageDetector`.
        **kwargs: As :class:`OpenVocabularyMixin` and :class:`mmdet.models.TwoStageDetector`.

    Raises:
        TypeError: The RoI head is not a :class:`ViLDRoIHead`.
        ValueError: ``with_vocabulary`` is neither True nor False.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.roi_head, ViLDRoIHead):
            raise TypeError(
                f'the roi_head of {type(self).__name__} must be a ViLDRoIHead, found '
                f'{type(self.roi_head).__name__}'
            )
        rivals = self.roi_head.test_cfg and self.roi_head.test_cfg.get('with_vocabulary')
        check_option(rivals, bool | None, 'with_vocabulary in test_cfg.rcnn')
        if self.with_rpn:
            give_float32(self.rpn_head)

    @property
    def text_classifier(self) -> CLIPTextClassifier:
        """CLIPTextClassifier: that of the bbox head, without a search through all modules."""
        return self.roi_head.bbox_head.fc_cls

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Feature maps (N, C, H, W) in float32, as RoI extractors need them; see ``float32.py``."""
        return in_float32(super().extract_feat(batch_inputs))

    @property
    def rivals(self) -> bool:
        """bool: whether the other words of the vocabulary compete with those asked for."""
        return self.roi_head.test_cfg.get('with_vocabulary', True)

    def check_any_words(self) -> None:
        """Raise a ValueError if the mask head has a mask for each category of the training."""
        if self.roi_head.with_mask and not getattr(self.roi_head.mask_head, 'class_agnostic', True):
            raise ValueError(
                'the mask head has a mask for each category of the training, and none for other '
                'words; words can be asked for where it was trained with class_agnostic=True'
            )
