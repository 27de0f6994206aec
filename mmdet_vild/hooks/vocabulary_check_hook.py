"""Compares what the model, the dataset and the teacher's embeddings say before anything runs."""

from collections.abc import Iterator

import numpy as np
from mmdet.models.data_preprocessors import BatchResize, BatchSyncRandomResize
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmdet_vild.datasets import CLIPCropEmbedding
from mmdet_vild.models import CLIPTextClassifier

_RESIZING = (BatchResize, BatchSyncRandomResize)


@HOOKS.register_module()
class VocabularyCheckHook(Hook):
    """Stops a run whose labels, words or teachers do not belong together.

    A detector whose text embeddings are in another order than the dataset's labels trains and
    tests without complaint, and detects nonsense. Before training, validation and testing this
    hook compares

    - the dataset's ``classes`` with the names in the text-embedding file, in order;
    - the dataset's ``novel`` classes, where it has any, with the novel ones of the classifier;
    - the teacher and the embedding width of the store with those of the text embeddings;
    - that the model does not resize the batch, which would leave the stored boxes behind.

    A model without a :class:`CLIPTextClassifier` passes.

    Raises:
        ValueError: Two of them differ; the message names the first difference.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the training dataset and its store."""
        self._check(runner, runner.train_loop.dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Check the validation dataset."""
        self._check(runner, runner.val_loop.dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Check the test dataset."""
        self._check(runner, runner.test_loop.dataloader.dataset)

    def _check(self, runner: Runner, dataset: Dataset) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        classifiers = [m for m in model.modules() if isinstance(m, CLIPTextClassifier)]
        for classifier in classifiers:
            for part in _unwrapped(dataset):
                check_vocabulary(classifier, part.metainfo)
                for transform in part.pipeline.transforms:
                    if isinstance(transform, CLIPCropEmbedding):
                        check_teacher(classifier, transform.store)
                        check_batch_augments(model)


def check_vocabulary(classifier: CLIPTextClassifier, metainfo: dict) -> None:
    """Raise a ValueError where labels or the novel split of a dataset differ from the words'."""
    classes = tuple(metainfo['classes'])
    if classes != classifier.names:
        raise ValueError(
            f'the dataset has {len(classes)} classes and the text embeddings '
            f'{len(classifier.names)} words{_first_difference(classes, classifier.names)}; encode '
            "the vocabulary of the dataset's own annotation file with tools/encode_vocabulary.py"
        )
    if metainfo.get('novel') is None:
        return
    found = set(metainfo['novel'])
    expected = {
        n for n, novel in zip(classifier.names, classifier.novel.tolist(), strict=True) if novel
    }
    if found != expected:
        raise ValueError(
            'the dataset and the text embeddings disagree on which categories are novel; only in '
            f'the dataset: {sorted(found - expected)[:5]}, only in the text embeddings: '
            f'{sorted(expected - found)[:5]}'
        )


def check_teacher(classifier: CLIPTextClassifier, store) -> None:
    """Raise a ValueError where a store holds the embeddings of another teacher."""
    if store.teacher != classifier.teacher or store.embed_dims != classifier.embed_dims:
        raise ValueError(
            f'the region embeddings come from the teacher {store.teacher} and are '
            f'{store.embed_dims} wide, the text embeddings from {classifier.teacher} and '
            f'{classifier.embed_dims} wide; both must come from one teacher'
        )


def check_batch_augments(model: nn.Module) -> None:
    """Raise a ValueError where the data preprocessor resizes images and not their regions."""
    augments = getattr(model.data_preprocessor, 'batch_augments', None) or []
    resizing = [type(a).__name__ for a in augments if isinstance(a, _RESIZING)]
    if resizing:
        raise ValueError(
            f'the data preprocessor resizes the batch ({resizing}) without the regions that '
            'CLIPCropEmbedding attached; use a resizing transform of the train pipeline instead'
        )


def _first_difference(classes: tuple[str, ...], names: tuple[str, ...]) -> str:
    count = min(len(classes), len(names))
    different = np.flatnonzero([classes[i] != names[i] for i in range(count)])
    if not len(different):
        return ''
    i = different[0]
    return f', and label {i} is {classes[i]!r} in the one and {names[i]!r} in the other'


def _unwrapped(dataset: Dataset) -> Iterator[Dataset]:
    """The datasets inside mmengine's wrappers."""
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from _unwrapped(part)
    elif hasattr(dataset, 'dataset'):
        yield from _unwrapped(dataset.dataset)
    else:
        yield dataset
