"""Writes down what the teacher sees in the regions that a detector proposes."""

from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_vild.datasets import EMBEDDING_TEACHER_KEY

from .original_image import original_image, to_original


@MODELS.register_module()
class RegionEmbeddingExtractor(TwoStageDetector):
    """A detector whose predictions are its RPN's proposals with the teacher's embeddings.

    Run it with mmdet's test tool, on the checkpoint of a detector trained on base categories,
    with :class:`mmdet_vild.evaluation.EmbeddingStoreWriter` as the metric (ViLD, Sec. 3.3).

    Args:
        teacher: Config of :class:`OpenCLIPTeacher`.
        **kwargs: As the detector that the checkpoint belongs to;
            ``test_cfg.rpn.max_per_img`` is the number of proposals.
    """

    def __init__(self, teacher: dict, **kwargs) -> None:
        super().__init__(**kwargs)
        self.teacher = TASK_UTILS.build(teacher)

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Propose regions and embed them.

        Returns:
            The samples, with ``pred_instances`` of ``bboxes`` (n, 4) in pixels of the original
            image, ``scores`` (n,) the objectness, descending, ``labels`` (n,) zero, and
            ``embeddings`` (n, D); and with the identity of the teacher as meta
            information.
        """
        features = self.extract_feat(batch_inputs)
        proposals = self.rpn_head.predict(features, batch_data_samples, rescale=False)
        self.teacher.to(batch_inputs.device)
        for data_sample, found in zip(batch_data_samples, proposals, strict=True):
            boxes = to_original(found.bboxes, data_sample)
            data_sample.pred_instances = InstanceData(
                bboxes=boxes,
                scores=found.scores,
                labels=found.labels,
                embeddings=self.teacher.encode_crops(original_image(data_sample), boxes),
            )
            data_sample.set_metainfo({EMBEDDING_TEACHER_KEY: self.teacher.identity})
        return batch_data_samples
