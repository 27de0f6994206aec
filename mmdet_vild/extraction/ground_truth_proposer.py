"""The annotated boxes of base categories as regions."""

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures import DetDataSample, SampleList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_vild.datasets import ORIGINAL_BOXES_KEY, ORIGINAL_LABELS_KEY

from .proposer import Proposer, digest


@TASK_UTILS.register_module()
class GroundTruthProposer(Proposer):
    """The annotated boxes of base categories that ``KeepOriginalImage`` kept, with a score of 1.

    Those of novel categories, which the dataset's ``novel_classes`` name, must not be seen.
    """

    def source(self, model: nn.Module) -> dict:
        """A digest of which categories are novel.

        Raises:
            ValueError: The dataset does not say.
        """
        return {'with_gt': f'base@{digest([_novel(model)])}'}

    def propose(
        self, model: nn.Module, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> list[InstanceData]:
        """Take the boxes of base categories.

        Raises:
            ValueError: The pipeline does not pass them on, or the dataset does not say which
                categories are novel.
        """
        novel = _novel(model)
        return [_annotated(data_sample, novel) for data_sample in batch_data_samples]


def _annotated(data_sample: DetDataSample, novel: np.ndarray) -> InstanceData:
    boxes = data_sample.metainfo.get(ORIGINAL_BOXES_KEY)
    if boxes is None:
        raise ValueError(
            f'the sample of {data_sample.get("img_path")} has no ori_gt_bboxes, which with_gt=True '
            'takes; put KeepOriginalImage after LoadImageFromFile in the test pipeline, and '
            'PackViLDInputs in place of PackDetInputs'
        )
    boxes = torch.from_numpy(boxes[~novel[data_sample.metainfo[ORIGINAL_LABELS_KEY]]])
    return InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)))


def _novel(model: nn.Module) -> np.ndarray:
    """(C,) bool, in label order."""
    meta = getattr(model, 'dataset_meta', None) or {}
    if meta.get('novel_classes') is None:
        raise ValueError(
            'with_gt=True must leave out the boxes of novel categories, but the metainfo of the '
            f'dataset has {sorted(meta)} and no novel_classes; take OpenVocabularyLVISDataset or '
            'OpenVocabularyCocoDataset, with EmbeddingStoreHook'
        )
    return np.array([name in meta['novel_classes'] for name in meta['classes']], bool)
