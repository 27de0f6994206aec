"""The metric that writes the teacher's region embeddings into a store."""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from mmdet.registry import METRICS
from mmengine.dist import (
    barrier,
    broadcast_object_list,
    get_rank,
    is_distributed,
    is_main_process,
)
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub, MMLogger
from torch import distributed as torch_dist

from mmdet_vild.embedding_store import (
    EmbeddingRecord,
    EmbeddingShard,
    EmbeddingStore,
    dataset_fingerprint,
)
from mmdet_vild.options import checked_options


@METRICS.register_module()
@checked_options
class EmbeddingStoreWriter(BaseMetric):
    """Writes what a region extractor predicts instead of measuring it.

    Each batch is committed as a whole, so a run that is killed has lost one batch and no more; or
    two on a GPU, which embeds the next one while a batch is written. Each process of a distributed
    run writes a shard of its own, which :class:`EmbeddingStoreHook` opens.

    Args:
        path: Folder of the :class:`mmdet_vild.embedding_store.EmbeddingStore`.
        ann_file: The annotation file whose images they are; the store remembers which it was.
        backend_args: Where mmengine reads the annotation file from; None for a local file.
        **kwargs: As :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'embedding_store'

    def __init__(
        self, path: str, ann_file: str, backend_args: dict | None = None, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.ann_file = ann_file
        self.backend_args = backend_args
        self._shard: EmbeddingShard | None = None
        self._arriving: list[dict] = []
        self._unreadable: list[str] = []
        self._wait_group: torch_dist.ProcessGroup | None = None
        self._crops_a_region = 1
        self._since = time.monotonic()

    def open(self, source: dict) -> None:
        """Open the store for writing; ``source`` and errors as :meth:`EmbeddingStore.create`."""
        dataset = dataset_fingerprint(self.ann_file, self.backend_args)
        self._shard = EmbeddingStore.create(self.path, source, dataset, get_rank())
        self._crops_a_region = len(source.get('crop_scales', [1]))
        if is_distributed():
            # NCCL ends a job in which a process waits for more than 10 minutes, and shares of an
            # extraction may differ by hours.
            self._wait_group = torch_dist.new_group(backend='gloo', timeout=timedelta(days=30))
        self._since = time.monotonic()

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Write the records of a batch; of one that is still to arrive, with the next batch.

        Args:
            data_batch: Not used.
            data_samples: For each image ``img_id``, ``ori_shape`` and ``pred_instances``:
                ``bboxes`` (n, 4) in original image pixels, ``scores`` (n,), ``embeddings`` (n, D)
                and perhaps ``weights`` (n,) and ``annotated`` (n,) bool, and perhaps ``arrival``,
                the event with which they are there. One with ``unreadable`` gets no record.

        Raises:
            RuntimeError: The store is not open.
            ValueError: The samples hold no embeddings, or some that a store does not take.
        """
        if self._shard is None:
            raise RuntimeError(
                f'the embedding store at {self.path} is not open; add '
                "dict(type='EmbeddingStoreHook') to custom_hooks"
            )
        self._write(self._arriving)  # while a GPU embeds this batch
        self._arriving = []
        if any('arrival' in sample for sample in data_samples):
            self._arriving = list(data_samples)
        else:
            self._write(data_samples)
        now = time.monotonic()
        # What proposers looked at and did not keep counts, too.
        crops = sum(sample.get('num_crops', 0) for sample in data_samples)
        found = [sample['pred_instances'] for sample in data_samples if 'pred_instances' in sample]
        crops = crops or self._crops_a_region * sum(len(regions['bboxes']) for regions in found)
        speed = crops / max(now - self._since, 1e-6)
        MessageHub.get_current_instance().update_scalar('test/crops_per_s', speed)
        self._since = now

    def evaluate(self, size: int) -> dict[str, int]:
        """Close the shard, and count which of ``size`` images have a record, of any run.

        Raises:
            ValueError: No image of the store has a region.
        """
        self._write(self._arriving)
        self._arriving = []
        logger = MMLogger.get_current_instance()
        for reason in self._unreadable:
            logger.error('skipped: %s', reason)
        self._unreadable.clear()
        barrier(self._wait_group)  # before closing: no other run may begin while one writes
        if self._shard is not None:
            self._shard.finish()
        found = [0, []]
        if is_main_process():
            with suppress(FileNotFoundError):
                store = EmbeddingStore(self.path)
                found = [len(store), store.without_regions()]
        broadcast_object_list(found, group=self._wait_group)
        if self._wait_group is not None:
            torch_dist.destroy_process_group(self._wait_group)
        self._wait_group = self._shard = None
        done, empty = found
        if size > done:
            logger.warning(
                f'{size - done} of {size} images have no record in {self.path}; run the same '
                'command again to embed those alone'
            )
        if empty:
            logger.warning(
                f'{len(empty)} of the {done} images in {self.path} have no region, such as image '
                f'{empty[0]!r}; nothing can be distilled from them'
            )
        if 0 < done == len(empty):
            raise ValueError(
                f'none of the {done} images in {self.path} has a region, so nothing can be '
                'distilled from it; delete it, and look at the checkpoint and what proposes regions'
            )
        return {f'{self.prefix}/images': done, f'{self.prefix}/missing': size - done}

    def _write(self, data_samples: Sequence[dict]) -> None:
        for arrival in {sample['arrival'] for sample in data_samples if 'arrival' in sample}:
            arrival.synchronize()
        records = []
        for sample in data_samples:
            if reason := sample.get('unreadable'):
                self._unreadable.append(reason)
                continue
            records.append((sample['img_id'], _record_of(sample), sample['ori_shape']))
        if records:
            self._shard.write(records)

    def compute_metrics(self, results: list) -> dict:
        """Not used: nothing is collected from the processes."""
        return {}


def _record_of(sample: dict) -> EmbeddingRecord:
    """What was predicted for an image."""
    regions = sample['pred_instances']
    if 'embeddings' not in regions:
        raise ValueError(
            f'the prediction for image {sample["img_id"]!r} has no embeddings; '
            'EmbeddingStoreWriter needs a model that embeds regions, such as '
            'RegionEmbeddingExtractor'
        )
    keys = ('bboxes', 'scores', 'embeddings', 'weights')
    arrays = [regions[k].detach().float().cpu().numpy() if k in regions else None for k in keys]
    annotated = regions['annotated'].cpu().numpy() if 'annotated' in regions else None
    return EmbeddingRecord(*arrays, annotated)
