"""Opens the embedding store before an extraction, so that it cannot be for nothing."""

import json
from collections.abc import Iterator

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmdet_vild.datasets.unwrapped import unwrapped
from mmdet_vild.embedding_store import dataset_fingerprint
from mmdet_vild.models import unwrapped_model

from .embedding_store_writer import EmbeddingStoreWriter
from .region_embedder import RegionEmbedder
from .segment_embedding_extractor import SegmentEmbeddingExtractor
from .unfinished_sampler import UnfinishedSampler

#: Transforms that change nothing about which regions an image has.
_WITHOUT_EFFECT = ('LoadAnnotations', 'KeepOriginalImage', 'Pack')
#: What of the loading of images changes their pixels, and its default.
_DECODING = {'imdecode_backend': 'cv2', 'color_type': 'color'}

_EXTRACTORS = (RegionEmbedder, SegmentEmbeddingExtractor)


@HOOKS.register_module()
class EmbeddingStoreHook(Hook):
    """Tells :class:`EmbeddingStoreWriter` what it will be given, before the first image.

    So a store that was begun differently is refused at once, even where nothing is left to do. Then
    :class:`UnfinishedSampler`, where it is used, leaves out what is in the store already.

    Raises:
        BlockingIOError: Another process writes to the store.
        TypeError: The model embeds no regions, or the evaluator is no
            :class:`EmbeddingStoreWriter`.
        ValueError: The store was begun differently (another teacher, other regions, another
            annotation file), or the writer has another annotation file than the dataset.
    """

    def before_test(self, runner: Runner) -> None:
        """Open the store."""
        model, loader = unwrapped_model(runner), runner.test_loop.dataloader
        metrics = runner.test_loop.evaluator.metrics
        writers = [metric for metric in metrics if isinstance(metric, EmbeddingStoreWriter)]
        if not isinstance(model, _EXTRACTORS) or len(writers) != 1:
            raise TypeError(
                'EmbeddingStoreHook is for a RegionEmbeddingExtractor, a CLIPRegionExtractor or a '
                'SegmentEmbeddingExtractor with one EmbeddingStoreWriter, found '
                f'{type(model).__name__} with {[type(metric).__name__ for metric in metrics]}'
            )
        _check_ann_file(writers[0], loader.dataset)
        model.dataset_meta = loader.dataset.metainfo
        pipeline = list(_effective_transforms(runner.cfg.test_dataloader.dataset))
        # As it will be read: lists for tuples, and so on.
        source = json.loads(json.dumps({**model.source, 'pipeline': pipeline}, default=str))
        writers[0].open(source)
        model.ahead = True
        if isinstance(loader.sampler, UnfinishedSampler):
            loader.sampler.leave_out(writers[0].path)


def _check_ann_file(writer: EmbeddingStoreWriter, dataset: Dataset) -> None:
    """Refuse a store that would name another annotation file than the dataset's."""
    expected = dataset_fingerprint(writer.ann_file, writer.backend_args)
    for part, _ in unwrapped(dataset):
        ann_file = getattr(part, 'ann_file', None)
        if not ann_file or ann_file == writer.ann_file:
            continue
        if dataset_fingerprint(ann_file, getattr(part, 'backend_args', None)) != expected:
            raise ValueError(
                f'the images are those of {ann_file}, but the store would say that they are those '
                f'of {writer.ann_file}; set test_dataloader.dataset.ann_file and '
                'test_evaluator.ann_file to the same file'
            )


def _effective_transforms(dataset: dict) -> Iterator[dict]:
    """Of a dataset's config, what decides an image's regions, also inside wrappers of datasets."""
    for part in (dataset.get('dataset'), *dataset.get('datasets', [])):
        if part is not None:
            yield from _effective_transforms(part)
    for transform in dataset.get('pipeline', []):
        name = str(transform['type']).split('.')[-1]
        if name.startswith('LoadImage'):
            decoding = {key: transform.get(key, usual) for key, usual in _DECODING.items()}
            if decoding != _DECODING:
                yield {'type': 'LoadImage', **decoding}
        elif not name.startswith(_WITHOUT_EFFECT):
            yield transform
