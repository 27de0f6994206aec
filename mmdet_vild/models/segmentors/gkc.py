"""The segmentor of GKC."""

from mmdet.models.detectors import Mask2Former
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from mmdet_vild.options import Count, Fraction, check_settings, checked_options

from ..classifiers import CLIPTextClassifier
from ..detectors.open_vocabulary_mixin import OpenVocabularyMixin
from .open_vocabulary_fusion_head import OpenVocabularyFusionHead
from .text_query_head import TextQueryHeadMixin

_TESTING = dict(
    panoptic_on=bool,
    semantic_on=bool,
    instance_on=bool,
    max_per_image=Count,
    iou_thr=Fraction,
    object_mask_thr=Fraction,
    filter_low_score=bool,
    with_vocabulary=bool,
)


@MODELS.register_module()
@checked_options
class GKC(OpenVocabularyMixin, Mask2Former):
    """Mask2Former, or MaskFormer, of any words; CLIP's image encoder is absent at test time.

    "Global Knowledge Calibration for Fast Open-Vocabulary Segmentation" (ICCV 2023). Predictions
    have a map of words in ``pred_sem_seg`` (``semantic_on`` in ``test_cfg``), and detections in
    ``pred_instances`` (``instance_on``).

    A sample that asks for its own words is searched for these alone: pixels of other words of the
    vocabulary are ``ignore_index`` in its map. With ``with_vocabulary=False`` in ``test_cfg`` the
    words of the vocabulary do not compete, and each pixel is the likeliest of its words.

    Args:
        *args, **kwargs: As :class:`OpenVocabularyMixin` and mmdet's ``MaskFormer``. The
            ``panoptic_head`` is a :class:`GKCHead` or a :class:`GKCMaskFormerHead`, the
            ``panoptic_fusion_head`` an :class:`OpenVocabularyFusionHead`.

    Raises:
        TypeError: A head is another one.
        ValueError: ``test_cfg`` finds nothing, or the heads have different numbers of categories.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        name, head, fusion = type(self).__name__, self.panoptic_head, self.panoptic_fusion_head
        if not isinstance(head, TextQueryHeadMixin):
            raise TypeError(
                f'the panoptic_head of {name} must be a GKCHead or a GKCMaskFormerHead, found '
                f'{type(head).__name__}'
            )
        if not isinstance(fusion, OpenVocabularyFusionHead):
            raise TypeError(
                f'the panoptic_fusion_head of {name} must be an OpenVocabularyFusionHead, found '
                f'{type(fusion).__name__}'
            )
        if fusion.num_classes != head.num_classes:
            raise ValueError(
                f'the panoptic_head of {name} has {head.num_classes} categories and its '
                f'panoptic_fusion_head {fusion.num_classes}; set num_things_classes and '
                'num_stuff_classes of both alike'
            )
        check_settings(self.test_cfg, _TESTING, 'test_cfg')
        kinds = dict(panoptic_on=True, semantic_on=False, instance_on=False)
        if not any(self.test_cfg.get(kind, usual) for kind, usual in kinds.items()):
            raise ValueError(
                f'test_cfg of {name} finds nothing; set semantic_on, instance_on or panoptic_on'
            )

    @property
    def text_classifier(self) -> CLIPTextClassifier:
        """CLIPTextClassifier: that of the head, without a search through all modules."""
        return self.panoptic_head.fc_cls

    @property
    def rivals(self) -> bool:
        """bool: see :class:`OpenVocabularyMixin`."""
        return self.test_cfg.get('with_vocabulary', True)

    def find_masks(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> tuple[list[Tensor], Tensor]:
        """Logits (Q, C + R + 1) of each image, and mask logits (B, Q, H, W) of the padded batch."""
        return self.panoptic_head.predict(self.extract_feat(batch_inputs), batch_data_samples)

    def detect(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Segment the words of each sample."""
        logits, masks = self.find_masks(batch_inputs, batch_data_samples)
        words = [sample.metainfo.get('words') for sample in batch_data_samples]
        results = self.panoptic_fusion_head.predict(
            logits, masks, batch_data_samples, rescale, words
        )
        for sample, found, asked in zip(batch_data_samples, results, words, strict=True):
            sem_seg = found.pop('sem_results', None)
            if sem_seg is not None:
                own = asked or self.text_classifier.words
                names, novel = own.names[: own.count], own.novel[: own.count]
                sem_seg.set_metainfo(dict(label_names=names, novel=novel))
                sample.pred_sem_seg = sem_seg
        return self.add_pred_to_datasample(batch_data_samples, results)
