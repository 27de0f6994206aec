"""Writes down what the teacher sees in annotated segments."""

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_vild.datasets import original_image
from mmdet_vild.datasets.number_segments import numbers_in_map
from mmdet_vild.options import checked_options
from mmdet_vild.teacher.masked_crops import Token, encode_masks

from .teacher_alone import TeacherAlone

#: What the pipeline of an extraction hands on; see :class:`SegmentEmbeddingExtractor`.
BOXES_KEY = 'segment_boxes'


@MODELS.register_module()
@checked_options
class SegmentEmbeddingExtractor(TeacherAlone):
    """A teacher whose predictions are the annotated segments with their embeddings.

    Run it with mmdet's test tool on the training images, with :class:`EmbeddingStoreWriter` as the
    metric and :class:`EmbeddingStoreHook`. The pipeline numbers the segments as that of the
    training does, and hands the picture and their boxes on::

        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadSemanticSegmentation'),
            dict(type='NumberSegments'),
            dict(type='KeepOriginalImage'),
            dict(type='PackDetInputs', meta_keys=(
                'img_id', 'img_path', 'ori_shape', 'img_shape', 'ori_img', 'segment_boxes'))]

    The tool wants a checkpoint; nothing is taken of it.

    Args:
        teacher: Config of :class:`OpenCLIPTeacher`.
        masked: Whether what is outside of a segment becomes grey, as it is for distillation, or is
            seen, as it is for the choice of synonyms.
        token: See :func:`mmdet_vild.teacher.masked_crops.encode_masks`.
        data_preprocessor: Default: one that changes no pixels.
    """

    #: The test dataset's ``metainfo``, which ``EmbeddingStoreHook`` tells.
    dataset_meta: dict | None = None

    def __init__(
        self,
        teacher: dict,
        masked: bool = True,
        token: Token = 'global',
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(teacher, data_preprocessor)
        self.masked = masked
        self.token = token

    def forward(self, inputs: Tensor, data_samples: SampleList, mode: str = 'predict'):
        """Embed the segments of each sample; it has no other mode.

        Returns:
            The samples, with ``pred_instances`` of ``bboxes`` (n, 4) in pixels of the original
            image, ``scores`` (n,) one, ``labels`` (n,) zero and ``embeddings`` (n, D), in the order
            of the segments' numbers.

        Raises:
            ValueError: The pipeline passes on no segments, or those of another picture.
        """
        self.teacher.to(inputs.device)
        for sample in data_samples:
            boxes = sample.metainfo.get(BOXES_KEY)
            if boxes is None:
                raise ValueError(
                    f'the sample of {sample.get("img_path")} has no {BOXES_KEY}; put '
                    'NumberSegments after what loads the annotations, and name segment_boxes and '
                    'ori_img in meta_keys of PackDetInputs'
                )
            masks = list(segment_masks(sample, len(boxes)))
            image = original_image(sample)
            embeddings = encode_masks(self.teacher, image, masks, boxes, self.masked, self.token)
            sample.pred_instances = InstanceData(
                bboxes=torch.from_numpy(boxes),
                scores=torch.ones(len(boxes)),
                labels=torch.zeros(len(boxes), dtype=torch.long),
                embeddings=embeddings,
            )
        return data_samples

    @property
    def source(self) -> dict:
        """dict: what decides the embeddings, for a store's header."""
        crops = dict(self.teacher.crop_source, crop_scales=[1.0])
        return {**crops, 'segments': True, 'masked': self.masked, 'token': self.token}


def segment_masks(sample: DetDataSample, count: int):
    """(H, W) bool of each numbered segment, out of a map or of masks that may overlap."""
    if 'gt_sem_seg' in sample:
        numbers = np.asarray(sample.gt_sem_seg.sem_seg.cpu())[0]
        for number in numbers_in_map(count):
            yield numbers == number
    else:
        # A crowd has a number too, though it is not learned.
        found = [sample.gt_instances, sample.get('ignored_instances', {})]
        masks = {
            number: mask
            for instances in found
            if 'masks' in instances
            for number, mask in zip(instances.labels.tolist(), instances.masks, strict=True)
        }
        for number in range(count):
            yield masks[number].astype(bool)
