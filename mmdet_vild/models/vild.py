"""The detector: mmdet's two-stage detector, whose class names are those of its vocabulary."""

from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS

from .vild_roi_head import ViLDRoIHead


@MODELS.register_module()
class ViLD(TwoStageDetector):
    """A two-stage detector with a :class:`ViLDRoIHead` (ViLD, Fig. 2 and 3).

    It differs from mmdet's in one respect. ``init_detector`` and ``DetInferencer`` take the
    class names from the checkpoint, which holds those it was trained with; here
    ``dataset_meta['classes']``, ``['novel_classes']`` and ``['base_classes']`` are always those of
    the vocabulary that the classifier has now, so that under another vocabulary a detection is
    shown with its own word.

    Args:
        *args: As :class:`mmdet.models.TwoStageDetector`.
        **kwargs: As :class:`mmdet.models.TwoStageDetector`.

    Raises:
        TypeError: The RoI head is not a :class:`ViLDRoIHead`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.roi_head, ViLDRoIHead):
            raise TypeError(
                f'the roi_head of {type(self).__name__} must be a ViLDRoIHead, found '
                f'{type(self.roi_head).__name__}'
            )
        self.dataset_meta = {}

    @property
    def dataset_meta(self) -> dict:
        """dict: the names of the vocabulary, which of them are novel, and what else was set."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        classifier = self.roi_head.bbox_head.fc_cls
        classes = tuple(classifier.names)
        if tuple(meta.get('classes', classes)) != classes:
            # Colours of other classes; mmdet then takes those of the config.
            meta = {key: value for key, value in meta.items() if key != 'palette'}
        novel = list(zip(classes, classifier.novel.tolist(), strict=True))
        self._dataset_meta = {
            **meta,
            'classes': classes,
            'novel_classes': tuple(name for name, is_novel in novel if is_novel),
            'base_classes': tuple(name for name, is_novel in novel if not is_novel),
        }
