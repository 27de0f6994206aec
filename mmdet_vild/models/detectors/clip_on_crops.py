"""The slow baseline: the teacher itself classifies every region."""

from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_flip
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.functional import softmax

from mmdet_vild.datasets import original_image, to_original
from mmdet_vild.options import checked_options

from ..explained_detections import explained_detections
from ..words import Words
from .vild import ViLD


class CropClassifierMixin:
    """Put before an :class:`OpenVocabularyMixin` whose teacher classifies the detector's boxes."""

    def check_objectness(self) -> None:
        """Refuse a detector that would have it in its scores twice."""
        weight = self.roi_head.test_cfg.get('objectness_weight')
        if self.with_objectness and weight:
            raise ValueError(
                f'{type(self).__name__} has objectness in its scores already, and '
                f'objectness_weight={weight} in test_cfg.rcnn would have it there twice; leave it '
                'out, or set with_objectness=False where that is an option'
            )

    def detect(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Propose, crop and classify; see :meth:`ViLD.detect`."""
        features = self.extract_feat(batch_inputs)
        proposals = self.rpn_head.predict(features, batch_data_samples, rescale=False)
        metas = [data_sample.metainfo for data_sample in batch_data_samples]
        regions = self.find_regions(features, metas, proposals)
        self.teacher.to(batch_inputs.device)
        images = zip(regions, proposals, batch_data_samples, strict=True)
        results = [self._classify(region, proposed.scores, s) for region, proposed, s in images]
        if self.roi_head.with_mask:
            results = self.add_masks(features, metas, results, rescale)
        elif rescale:
            for result, data_sample in zip(results, batch_data_samples, strict=True):
                result.bboxes = to_original(result.bboxes, data_sample)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def find_regions(self, features, metas: list[dict], proposals: InstanceList) -> InstanceList:
        """The boxes of each image, ``bboxes`` (n, 4), and the detector's own ``scores``.

        A detection keeps what else a region has.
        """
        return self.roi_head.predict_bbox(features, metas, proposals, rcnn_test_cfg=None)

    def add_masks(
        self, features, metas: list[dict], results: InstanceList, rescale: bool
    ) -> InstanceList:
        """The detector's masks; boxes become those of the original image, with ``rescale``."""
        return self.roi_head.predict_mask(features, metas, results, rescale=rescale)

    def _classify(self, region: InstanceData, objectness: Tensor, data_sample) -> InstanceData:
        boxes = region.bboxes.view(-1, 4)
        words = data_sample.metainfo.get('words') or self.text_classifier.words
        clip = self.crop_probabilities(boxes, data_sample, words)
        scores, parts = self.combine(clip, region.scores, words)
        if self.with_objectness:
            scores = (scores * objectness[:, None]).sqrt()
        parts |= {'objectness': objectness, 'iou_scores': region.get('iou_scores')}
        apart = ('bboxes', 'scores', 'iou_scores')
        others = {k: value for k, value in region.items() if k not in apart}
        return explained_detections(boxes, scores, self.roi_head.test_cfg, words, parts, others)

    def crop_probabilities(self, boxes: Tensor, data_sample, words: Words) -> Tensor:
        """The teacher's (n, C + R) for crops of boxes (n, 4), in pixels of the network's input."""
        crops, meta = to_original(boxes.cpu(), data_sample), data_sample.metainfo
        if meta.get('flip'):  # the original picture is not
            crops = bbox_flip(crops, meta['ori_shape'], meta['flip_direction'])
        embeddings = self.teacher.embed_regions([original_image(data_sample)], [crops])
        classifier = self.text_classifier
        similarities = classifier.classify(embeddings, words)[:, : len(words.names)]
        if classifier.logit_scale is not None:  # what the detector learned is not the teacher's
            similarities = similarities * (classifier.temperature / classifier.given_temperature)
        return softmax(similarities, dim=1)

    def combine(self, clip: Tensor, detector: Tensor, words: Words) -> tuple[Tensor, dict]:
        """Scores (n, C + R) and their parts, from the teacher's and the detector's probabilities.

        The parts are called as :func:`explained_detections` calls them.
        """
        return clip, {'image_scores': clip}


@MODELS.register_module()
@checked_options
class CLIPOnCrops(CropClassifierMixin, ViLD):
    """CLIP on cropped regions (ViLD, Sec. 3.1).

    A detector trained on base categories proposes regions and refines them with its
    class-agnostic boxes; the teacher crops each, encodes it and compares it with the words; the
    class-agnostic masks are the detector's. Run it on the checkpoint of ViLD-text.

    Args:
        teacher: Config of :class:`OpenCLIPTeacher`, the one that encoded the vocabulary.
        with_objectness: Whether scores are multiplied with the RPN's objectness, geometrically.
        **kwargs: As the detector that the checkpoint belongs to.

    Raises:
        ValueError: Another teacher encoded the vocabulary; or ``objectness_weight`` of
            ``test_cfg.rcnn`` comes to ``with_objectness``.
    """

    def __init__(self, teacher: dict, with_objectness: bool = False, **kwargs) -> None:
        super().__init__(teacher=teacher, **kwargs)
        self.with_objectness = with_objectness
        self.check_objectness()
        _ = self.teacher  # built and checked now: it is needed for every image
