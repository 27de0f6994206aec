"""Opens the embedding store before an extraction, so that it cannot be for nothing."""

import json

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_vild.datasets import UnfinishedSampler
from mmdet_vild.evaluation import EmbeddingStoreWriter
from mmdet_vild.teacher import RegionEmbeddingExtractor

from .vocabulary_check_hook import model_of

#: Transforms that change nothing about which regions an image has.
_WITHOUT_EFFECT = ('LoadImage', 'LoadAnnotations', 'KeepOriginalImage', 'Pack')


@HOOKS.register_module()
class EmbeddingStoreHook(Hook):
    """Tells :class:`EmbeddingStoreWriter` what it will be given, before the first image.

    So a store that was begun differently (another teacher, other regions, another annotation
    file) is refused at once, even where nothing is left to do. Then
    :class:`UnfinishedSampler`, where it is used, leaves out what is in the store already.

    Raises:
        BlockingIOError: Another process writes to the store.
        TypeError: The model is no :class:`RegionEmbeddingExtractor`, or the evaluator is none
            :class:`EmbeddingStoreWriter`.
        ValueError: The store was begun differently; the message names the differences.
    """

    def before_test(self, runner: Runner) -> None:
        """Open the store."""
        model = model_of(runner)
        metrics = runner.test_loop.evaluator.metrics
        writers = [metric for metric in metrics if isinstance(metric, EmbeddingStoreWriter)]
        if not isinstance(model, RegionEmbeddingExtractor) or len(writers) != 1:
            raise TypeError(
                'EmbeddingStoreHook is for a RegionEmbeddingExtractor with one '
                f'EmbeddingStoreWriter, found {type(model).__name__} with '
                f'{[type(metric).__name__ for metric in metrics]}'
            )
        pipeline = [
            transform
            for transform in runner.cfg.test_dataloader.dataset.get('pipeline', [])
            if not str(transform['type']).startswith(_WITHOUT_EFFECT)
        ]
        # As it will be read: lists for tuples, and so on.
        source = json.loads(json.dumps({**model.source, 'pipeline': pipeline}, default=str))
        writers[0].open(source)
        sampler = runner.test_loop.dataloader.sampler
        if isinstance(sampler, UnfinishedSampler):
            sampler.leave_out(writers[0].path)
