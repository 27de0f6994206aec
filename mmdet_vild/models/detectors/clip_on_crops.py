"""The slow baseline: the teacher itself classifies every region."""

from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.functional import softmax

from mmdet_vild.datasets import original_image, to_original
from mmdet_vild.options import checked_options

from ..detections import explained_detections
from ..words import Words
from .vild import ViLD


@MODELS.register_module()
@checked_options
class CLIPOnCrops(ViLD):
    """CLIP on cropped regions (ViLD, Sec. 3.1).

    A detector trained on base categories proposes regions and refines them with its
    class-agnostic boxes; the teacher crops each, encodes it and compares it with the words; the
    class-agnostic masks are the detector's. Run it on the checkpoint of ViLD-text.

    Args:
        teacher: Config of :class:`OpenCLIPTeacher`, the one that encoded the vocabulary.
        with_objectness: Whether scores are multiplied with the RPN's objectness, geometrically.
        **kwargs: As the detector that the checkpoint belongs to.

    Raises:
        ValueError: Another teacher encoded the vocabulary.
    """

    def __init__(self, teacher: dict, with_objectness: bool = False, **kwargs) -> None:
        super().__init__(teacher=teacher, **kwargs)
        self.with_objectness = with_objectness
        _ = self.teacher  # built and checked now: it is needed for every image

    def detect(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Propose, crop and classify; see :meth:`ViLD.detect`."""
        features = self.extract_feat(batch_inputs)
        proposals = self.rpn_head.predict(features, batch_data_samples, rescale=False)
        metas = [data_sample.metainfo for data_sample in batch_data_samples]
        regions = self.roi_head.predict_bbox(features, metas, proposals, rcnn_test_cfg=None)
        self.teacher.to(batch_inputs.device)
        results = [
            self._classify(region, proposal.scores, data_sample)
            for region, proposal, data_sample in zip(
                regions, proposals, batch_data_samples, strict=True
            )
        ]
        if self.roi_head.with_mask:
            results = self.roi_head.predict_mask(features, metas, results, rescale=rescale)
        elif rescale:
            for result, data_sample in zip(results, batch_data_samples, strict=True):
                result.bboxes = to_original(result.bboxes, data_sample)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _classify(self, region: InstanceData, objectness: Tensor, data_sample) -> InstanceData:
        boxes = region.bboxes.view(-1, 4)
        classifier = self.roi_head.bbox_head.fc_cls
        words = data_sample.metainfo.get('words') or classifier.words
        embeddings = self.teacher.encode_crops(
            original_image(data_sample), to_original(boxes, data_sample)
        ).to(boxes)
        similarities = classifier.classify(embeddings, words)[:, : len(words.names)]
        clip = softmax(similarities, dim=1)
        scores = self.region_scores(clip, region.scores, objectness, words)
        parts = self.score_parts(clip, region.scores, objectness)
        return explained_detections(boxes, scores, self.roi_head.test_cfg, words, parts)

    def region_scores(
        self, clip: Tensor, detector: Tensor, objectness: Tensor, words: Words
    ) -> Tensor:
        """Scores of n regions, from those of the teacher and of the detector.

        Args:
            clip: (n, C + R) the teacher's probabilities.
            detector: (n, C + R) the detector's, which this baseline ignores.
            objectness: (n,) the RPN's.
            words: The C words, and the R that compete with them.

        Returns:
            (n, C + R).
        """
        return (clip * objectness[:, None]).sqrt() if self.with_objectness else clip

    def score_parts(self, clip: Tensor, detector: Tensor, objectness: Tensor) -> dict[str, Tensor]:
        """What :func:`explained_detections` says a score is made of; as :meth:`region_scores`."""
        return {'image_scores': clip, 'objectness': objectness}
