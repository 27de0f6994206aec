"""How many annotated objects a teacher names right."""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric


@METRICS.register_module()
class CropAccuracy(BaseMetric):
    """The share of crops of annotated boxes, in %, that :class:`TeacherTuner` names right.

    Among the names of all classes, base and novel: ``crops/accuracy``, and ``crops/base_accuracy``
    and ``crops/novel_accuracy`` of the objects of base and of novel categories; NaN where there
    are none.
    """

    default_prefix = 'crops'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the labels (n,) of ``gt_instances`` and ``pred_instances`` of each sample."""
        for sample in data_samples:
            instances = (sample['gt_instances'], sample['pred_instances'])
            self.results.append(tuple(each['labels'].cpu().numpy() for each in instances))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """The shares.

        Raises:
            ValueError: The dataset does not say which of its classes are novel.
        """
        meta = self.dataset_meta or {}
        if meta.get('novel_classes') is None:
            raise ValueError(
                f'the metainfo of the dataset has {sorted(meta)} and no novel_classes, of which '
                'CropAccuracy reports apart; take OpenVocabularyLVISDataset or '
                'OpenVocabularyCocoDataset'
            )
        is_novel = np.array([name in meta['novel_classes'] for name in meta['classes']], bool)
        labels, found = (np.concatenate(each) for each in zip(*results, strict=True))
        right, novel = labels == found, is_novel[labels]
        groups = dict(accuracy=right, base_accuracy=right[~novel], novel_accuracy=right[novel])
        return {name: 100 * float(g.mean()) if g.size else np.nan for name, g in groups.items()}
