"""The annotated boxes of base categories as regions."""

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures import DetDataSample, SampleList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_vild.datasets import (
    CROWD_BOXES_KEY,
    CROWD_LABELS_KEY,
    ORIGINAL_BOXES_KEY,
    ORIGINAL_LABELS_KEY,
)

from .proposer import Proposer, digest


@TASK_UTILS.register_module()
class GroundTruthProposer(Proposer):
    """The annotated boxes of base categories that ``KeepOriginalImage`` kept, with a score of 1.

    Those of novel categories, which the dataset's ``novel_classes`` name, must not be seen.

    Raises:
        ValueError: The pipeline does not pass the boxes on, or the dataset does not say what is
            novel; by each method.
    """

    def source(self, model: nn.Module) -> dict:
        """A digest of which categories are novel."""
        return {'with_gt': f'base@{digest([novel_labels(model)])}'}

    def propose(
        self, model: nn.Module, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> list[InstanceData]:
        """Take the boxes of base categories."""
        found = []
        for data_sample in batch_data_samples:
            boxes = torch.from_numpy(base_boxes(model, data_sample))
            every = torch.ones(len(boxes))
            found.append(InstanceData(bboxes=boxes, scores=every, annotated=every.bool()))
        return found


def base_boxes(
    model: nn.Module, data_sample: DetDataSample, with_crowds: bool = False
) -> np.ndarray:
    """The annotated boxes (n, 4) of base categories that ``KeepOriginalImage`` kept.

    Raises:
        ValueError: As :class:`GroundTruthProposer`.
    """
    novel, found = novel_labels(model), []
    kinds = [(ORIGINAL_BOXES_KEY, ORIGINAL_LABELS_KEY), (CROWD_BOXES_KEY, CROWD_LABELS_KEY)]
    for boxes_key, labels_key in kinds[: 1 + with_crowds]:
        boxes = data_sample.metainfo.get(boxes_key)
        if boxes is None:
            raise ValueError(
                f'the sample of {data_sample.get("img_path")} has no {boxes_key}, of which boxes '
                'of base categories are taken (with_gt=True, GroundTruthProposer, base_iou of '
                'CLIPAnchorProposer); put KeepOriginalImage after LoadImageFromFile in the test '
                'pipeline, and PackViLDInputs in place of PackDetInputs'
            )
        found.append(boxes[~novel[data_sample.metainfo[labels_key]]])
    return np.concatenate(found)


def novel_labels(model: nn.Module) -> np.ndarray:
    """(C,) bool, in label order; a ValueError where the dataset does not say what is novel."""
    meta = getattr(model, 'dataset_meta', None) or {}
    if meta.get('novel_classes') is None:
        raise ValueError(
            'boxes of novel categories must not be seen (with_gt=True, GroundTruthProposer, '
            'CLIPAnchorProposer), but the metainfo of the '
            f'dataset has {sorted(meta)} and no novel_classes; take OpenVocabularyLVISDataset or '
            'OpenVocabularyCocoDataset, with EmbeddingStoreHook'
        )
    return np.array([name in meta['novel_classes'] for name in meta['classes']], bool)
