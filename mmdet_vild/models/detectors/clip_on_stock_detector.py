"""Any words without any training: a detector of mmdet as it is, and a teacher on its boxes."""

from collections.abc import Sequence
from functools import cached_property

import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from torch import Tensor

from mmdet_vild.options import checked_options
from mmdet_vild.vocabulary import TextEmbeddings, is_novel, load_categories

from ..words import Words, level_pictures
from .clip_on_crops import CropClassifierMixin
from .open_vocabulary_mixin import OpenVocabularyMixin
from .vild import check_test_cfg


@MODELS.register_module()
@checked_options
class CLIPOnStockDetector(CropClassifierMixin, OpenVocabularyMixin, TwoStageDetector):
    """A trained two-stage detector finds boxes and masks, the teacher says what is in them.

    The detector is one of mmdet's, such as its Mask R-CNN of COCO, whose checkpoints load key by
    key. Each proposal is refined, and gets its mask, by the category of the detector's own that it
    is most like; what that category is, is forgotten. Scores are the geometric mean of the
    teacher's probability and of the RPN's objectness.

    Args:
        teacher: Config of any :class:`OpenCLIPTeacher`, whose own temperature is taken.
        vocabulary: What is detected where no words are asked for, and otherwise competes with them:
            as :func:`load_categories` takes it. The teacher encodes it when it is first needed.
        prompts: What the teacher reads of each word, see :func:`fill_templates`.
        **kwargs: As mmdet's ``TwoStageDetector``.
    """

    with_objectness = True
    #: No temperature is learned.
    logit_scale = None
    #: As :class:`CLIPTextClassifier` has it.
    synonyms = 'average'
    #: Nor is any word, so that annotations of novel categories do no harm.
    mask_novel = False

    def __init__(
        self,
        teacher: dict,
        vocabulary: str = 'CocoDataset',
        prompts: Sequence[str] = ('a photo of {article} {}.',),
        **kwargs,
    ) -> None:
        # Before torch's own attributes, as the mixin asks for the names.
        self._categories, self._prompts = load_categories(vocabulary), tuple(prompts)
        super().__init__(teacher=teacher, **kwargs)
        check_test_cfg(self.test_cfg)
        self.check_objectness()
        _ = self.teacher  # built now: it is needed for every image

    @property
    def text_classifier(self) -> 'CLIPOnStockDetector':
        """Itself: no part of it has learned words."""
        return self

    @property
    def text_classifiers(self) -> list:
        """list: itself."""
        return [self]

    @property
    def names(self) -> tuple[str, ...]:
        """tuple[str]: those of the vocabulary."""
        return tuple(category['name'] for category in self._categories)

    @property
    def novel_names(self) -> tuple[str, ...]:
        """tuple[str]: those of its novel categories."""
        return tuple(category['name'] for category in self._categories if is_novel(category))

    @property
    def teacher(self):
        """The teacher."""
        return self._encoder.teacher(None)

    @cached_property
    def vocabulary(self) -> TextEmbeddings:
        """TextEmbeddings: of the vocabulary, encoded at the first use."""
        teacher = self.teacher.to(self.data_preprocessor.device)
        return teacher.encode_categories(self._categories, self._prompts)

    @property
    def words(self) -> Words:
        """Words: those of the vocabulary."""
        return Words.from_text_embeddings(self.vocabulary, self.data_preprocessor.device)

    @property
    def rivals(self) -> bool:
        """bool: see :class:`OpenVocabularyMixin`."""
        return self.roi_head.test_cfg.get('with_vocabulary', True)

    def classify(self, embeddings: Tensor, words: Words) -> Tensor:
        """Similarities (n, C + R) of an image's regions (n, D), over the teacher's temperature."""

        def similar(words: Words) -> Tensor:
            return embeddings @ words.embeddings.t()

        return level_pictures(similar, words, self.words) / self.teacher.temperature

    def find_regions(self, features, metas, proposals) -> InstanceList:
        """Each proposal's box, (n, 4), by the category that it is most like: ``stock_labels``."""
        regions = self.roi_head.predict_bbox(features, metas, proposals, rcnn_test_cfg=None)
        for region in regions:
            labels = region.scores[:, : self.roi_head.bbox_head.num_classes].argmax(dim=1)
            boxes = region.bboxes.reshape(len(labels), region.bboxes.shape[1] // 4, 4)
            rows = torch.arange(len(labels), device=labels.device)
            region.bboxes = boxes[rows, labels % boxes.shape[1]]
            if self.roi_head.with_mask:
                region.stock_labels = labels
        return regions

    def add_masks(self, features, metas, results, rescale: bool) -> InstanceList:
        """The masks of those categories."""
        labels = [result.labels for result in results]
        for result in results:
            result.labels = result.pop('stock_labels')
        results = super().add_masks(features, metas, results, rescale)
        for result, asked in zip(results, labels, strict=True):
            result.labels = asked
        return results
