"""The metric that turns a test run of a region-embedding extractor into an embedding store."""

from collections.abc import Sequence

from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from mmdet_vild.datasets import EMBEDDING_TEACHER_KEY, EmbeddingRecord, NpzEmbeddingStore


@METRICS.register_module()
class EmbeddingStoreWriter(BaseMetric):
    """Write each image's predicted regions and embeddings to a store as soon as they come.

    Records are written one by one, so an interrupted run loses nothing, and the ranks of a
    distributed run write side by side to one (shared) folder. Nothing but counts is gathered.

    Args:
        path: Folder of the :class:`mmdet_vild.datasets.NpzEmbeddingStore`.
        collect_device: As in mmengine's ``BaseMetric``.
        prefix: As in mmengine's ``BaseMetric``.
    """

    default_prefix = 'embedding_store'

    def __init__(self, path: str, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.path = path
        self._store: NpzEmbeddingStore | None = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Write the records of a batch.

        Args:
            data_batch: Not used.
            data_samples: A dict a sample with ``img_id``, ``ori_shape``, ``embedding_teacher``
                (identity of the teacher) and ``pred_instances``: ``bboxes`` (n, 4) in original
                image pixels, ``scores`` (n,) and ``embeddings`` (n, D).

        Raises:
            ValueError: The samples hold no embeddings, or the folder holds a store of another
                teacher.
        """
        for sample in data_samples:
            regions = sample['pred_instances']
            if EMBEDDING_TEACHER_KEY not in sample or 'embeddings' not in regions:
                raise ValueError(
                    f'the prediction for image {sample["img_id"]!r} has no embeddings or does not '
                    f'name their teacher ({EMBEDDING_TEACHER_KEY}); EmbeddingStoreWriter needs a '
                    'model that embeds regions, such as RegionEmbeddingExtractor'
                )
            boxes, scores, embeddings = (
                regions[key].detach().float().cpu().numpy()
                for key in ('bboxes', 'scores', 'embeddings')
            )
            teacher = sample[EMBEDDING_TEACHER_KEY]
            if self._store is None or self._store.teacher != teacher:
                self._store = NpzEmbeddingStore.create(self.path, teacher, embeddings.shape[1])
            record = EmbeddingRecord(boxes, scores, embeddings)
            self._store.write(sample['img_id'], record, sample['ori_shape'])
            self.results.append(len(record))

    def compute_metrics(self, results: list) -> dict[str, int]:
        """Count what was written.

        Args:
            results: Numbers of regions, one an image.

        Returns:
            ``images`` and ``regions``.
        """
        return {'images': len(results), 'regions': sum(results)}
