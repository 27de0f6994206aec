"""Compares what the model, the dataset and the teacher's embeddings say before anything runs."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import product, zip_longest
from pathlib import PurePath
from typing import Any

from mmcv.transforms import LoadImageFromFile
from mmdet.evaluation import MultiDatasetsEvaluator
from mmdet.models.data_preprocessors import BatchResize, BatchSyncRandomResize
from mmdet.registry import HOOKS
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner, TestLoop, ValLoop
from torch import nn
from torch.utils.data import Dataset

from mmdet_vild.datasets import (
    CLIPCropEmbedding,
    DrawSynonyms,
    NumberSegments,
    OpenVocabularySegDataset,
    SegmentEmbeddings,
)
from mmdet_vild.datasets.geometry import check_transforms
from mmdet_vild.datasets.number_segments import check_segment_transforms
from mmdet_vild.datasets.unwrapped import unwrapped
from mmdet_vild.embedding_store import EmbeddingStore, MissingRecordError
from mmdet_vild.models import (
    CLIPTextClassifier,
    OpenVocabularyMixin,
    SynonymLoss,
    unwrapped_model,
)
from mmdet_vild.teacher import TeacherTuner
from mmdet_vild.vocabulary import TextEmbeddings, same_space

#: Of about so many pictures the sizes are compared with a store before a training.
PROBED = 10


@HOOKS.register_module()
class VocabularyCheckHook(Hook):
    """Stops a run whose labels, words or teachers do not belong together.

    A detector whose text embeddings are in another order than the dataset's labels trains and
    tests without complaint, and detects nonsense. Before training (for the validation dataset
    too), validation and testing this hook compares

    - the dataset's ``classes``, in order, and ``novel_classes`` with the classifier's words;
    - the categories and images of the metrics' annotation files with the dataset's, of any model;

    and before training it looks

    - whether the store has the words' teacher and the dataset's annotation file and images, some
      of which are read for their size, and regions, or segments where these are asked for;
    - whether the batch is resized, which would leave the stored boxes behind, and whether
      transforms keep boxes or segments with what is known of them;
    - for annotations of novel categories, and maps of which their pixels are not ignored, unless
      the classifier has ``mask_novel=False``;
    - whether a model with a ``distill_loss`` gets regions, and one with a ``SynonymLoss`` names
      drawn from its synonyms;
    - whether the teacher that words will be asked of could be built, and encoded the vocabulary.

    Datasets and transforms are found inside their wrappers. Every dataset is gone through once.

    Raises:
        ValueError: One of these is not so; the message names the first difference.
        MissingRecordError: The store has no record of an image.
    """

    _checked: ValLoop | TestLoop | None = None

    def before_train(self, runner: Runner) -> None:
        """Check the training dataset and its store, and the validation dataset and metrics."""
        model = unwrapped_model(runner)
        if classifiers := _classifiers(model):
            for dataset, transforms in unwrapped(runner.train_loop.dataloader.dataset):
                _check_vocabulary(classifiers, dataset)
                _check_distillation(model, dataset, transforms)
                _check_synonyms(model, dataset, transforms)
                if any(isinstance(transform, NumberSegments) for transform in transforms):
                    check_segment_transforms(transforms)
                paths, labels = _read(dataset)
                for transform in transforms:
                    if isinstance(transform, CLIPCropEmbedding | SegmentEmbeddings):
                        words = [classifier.vocabulary for classifier in classifiers]
                        _check_store(words, transform, dataset, paths)
                        _check_sizes(transform.store, transforms, paths)
                    elif isinstance(transform, DrawSynonyms) and transform.store is not None:
                        _check_store([transform.text], transform, dataset, paths)
                    if isinstance(transform, CLIPCropEmbedding):
                        check_transforms(transforms)
                        _check_batch_augments(model)
                _check_no_novel(classifiers, dataset, labels)
        if runner.val_loop is not None:  # built by now
            self._check_loop(model, runner.val_loop)
        if isinstance(model, OpenVocabularyMixin):
            model.check_teacher()

    def before_val(self, runner: Runner) -> None:
        """Check the validation dataset and metrics."""
        self._check_loop(unwrapped_model(runner), runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Check the test dataset and metrics."""
        self._check_loop(unwrapped_model(runner), runner.test_loop)

    def _check_loop(self, model: nn.Module, loop: ValLoop | TestLoop) -> None:
        if self._checked is loop:  # validation follows validation
            return
        whole, metrics = loop.dataloader.dataset, loop.evaluator.metrics
        # Each metric has a dataset of its own, or all have them all.
        own = isinstance(loop.evaluator, MultiDatasetsEvaluator)
        for number, tested in enumerate(whole.datasets if own else [whole]):
            for dataset, _ in unwrapped(tested):
                _check_vocabulary(_classifiers(model), dataset)
                paths, _ = _read(dataset)
                for metric in metrics[number : number + 1] if own else metrics:
                    _check_metric(metric, dataset, paths)
        self._checked = loop


def _classifiers(model: nn.Module) -> list[CLIPTextClassifier | TeacherTuner]:
    """What compares with words."""
    if isinstance(model, OpenVocabularyMixin):
        return model.text_classifiers
    kinds = CLIPTextClassifier, TeacherTuner
    return [module for module in model.modules() if isinstance(module, kinds)]


def _read(dataset: Dataset) -> tuple[dict, Counter]:
    """Image id -> path of the images of a dataset, and how many annotations have each label."""
    paths, labels = {}, Counter()
    for info in map(dataset.get_data_info, range(len(dataset))):
        paths[info['img_id']] = info.get('img_path') or ''
        labels.update(instance['bbox_label'] for instance in info.get('instances', ()))
    return paths, labels


def _describe(dataset: Dataset) -> str:
    return f'{type(dataset).__name__} ({getattr(dataset, "ann_file", "no annotation file")})'


def _difference(classes: Sequence[str], names: Sequence[str]) -> str:
    for label, (one, other) in enumerate(zip_longest(classes, names)):
        if one != other:
            return f', and label {label} is {one!r} in the one and {other!r} in the other'
    return ''


def _check_vocabulary(classifiers: Sequence[CLIPTextClassifier], dataset: Dataset) -> None:
    """Labels, and the novel split, are those of the words."""
    classes, novel = map(dataset.metainfo.get, ('classes', 'novel_classes'))
    classes = tuple(classes or ())
    for classifier in classifiers:
        if classes != classifier.names:
            raise ValueError(
                f'{_describe(dataset)} has {len(classes)} classes and the text embeddings '
                f'{len(classifier.names)} words{_difference(classes, classifier.names)}; encode '
                'the vocabulary of its annotation file with tools/encode_vocabulary.py'
            )
        found, expected = set(novel or ()), set(classifier.novel_names)
        if novel is not None and found != expected:
            raise ValueError(
                f'{_describe(dataset)} and the text embeddings disagree on which categories are '
                f'novel; only in the dataset: {sorted(found - expected)[:5]}, only in the text '
                f'embeddings: {sorted(expected - found)[:5]}'
            )


def _check_metric(metric: BaseMetric, dataset: Dataset, paths: dict) -> None:
    """A metric of COCO or LVIS, which reads a file of its own, compares with the dataset's."""
    lvis = getattr(metric, '_lvis_api', None)
    api = lvis or getattr(metric, '_coco_api', None)
    if api is None:
        return
    classes = tuple(dataset.metainfo['classes'])
    ids = lvis.get_cat_ids() if lvis else api.get_cat_ids(cat_names=classes)
    names = tuple(api.cats[category_id]['name'] for category_id in ids)
    for img_id, path in paths.items():
        # Without a name where the metric made the annotations of what the dataset gave it.
        name = api.imgs.get(img_id, {}).get('coco_url' if lvis else 'file_name')
        other = name and path and PurePath(name).name != PurePath(path).name
        if other or img_id not in api.imgs:
            found = f'{path or "no file"}, but {name or "none"} in it is image {img_id!r}'
            break
    else:
        if classes == names:
            return
        found = f'{len(classes)} classes, but in it {len(names)}{_difference(classes, names)}'
    raise ValueError(
        f'the annotation file of {type(metric).__name__} is not that of {_describe(dataset)}, '
        f'which has {found}; name the same file in the dataset and the evaluator'
    )


def _check_store(
    vocabularies: Sequence[TextEmbeddings],
    transform: CLIPCropEmbedding | SegmentEmbeddings | DrawSynonyms,
    dataset: Dataset,
    paths: dict,
) -> None:
    """The store is of the words' teacher and of the dataset's annotations, and has all images.

    It has a region of one of them at least.
    """
    store = transform.store
    for words in vocabularies:
        if not same_space(store.teacher, words.teacher) or store.embed_dims != words.embed_dims:
            raise ValueError(
                f'the region embeddings come from the teacher {store.teacher} and are '
                f'{store.embed_dims} wide, the text embeddings from {words.teacher} and '
                f'{words.embed_dims} wide; both must come from one teacher'
            )
    if not isinstance(store, EmbeddingStore):
        return
    if not isinstance(transform, CLIPCropEmbedding) and not store.header.get('segments'):
        raise ValueError(
            f'the embedding store at {store.path}, which {type(transform).__name__} reads, has '
            'regions, and no segments; name one that a SegmentEmbeddingExtractor wrote'
        )
    if store.header['dataset'] and getattr(dataset, 'ann_file', None):
        store.check_dataset(dataset.ann_file, getattr(dataset, 'backend_args', None))
    done = set(store.img_ids())
    missing = [img_id for img_id in paths if img_id not in done]
    if missing and not getattr(transform, 'allow_missing', False):
        raise MissingRecordError(
            f'the embedding store at {store.path} has no record of {len(missing)} of the '
            f'{len(paths)} images of {_describe(dataset)}, such as image {missing[0]!r}; '
            'run the extraction again, which embeds those alone'
        )
    if not store.has_regions():
        raise ValueError(
            f'none of the {len(done)} images in {store.path} has a region, so nothing can be '
            'distilled from it; delete it, look at the checkpoint and what proposes regions, and '
            'extract it anew'
        )


def _check_sizes(store: Any, transforms: Sequence, paths: dict) -> None:
    """Some pictures have the size that the store says. The loader will look at all of them.

    One without a record is skipped here: where that is not allowed, :func:`_check_store` said so.
    """
    load = next(iter(transforms), None)
    if not (isinstance(store, EmbeddingStore) and isinstance(load, LoadImageFromFile)):
        return
    known = [(img_id, path) for img_id, path in paths.items() if path]
    for img_id, path in known[:: -(-len(known) // PROBED) or 1]:
        try:
            results = load(dict(img_id=img_id, img_path=path))
        except Exception:  # which the loader will say, too
            continue
        with suppress(MissingRecordError):
            store.read(results)


def _check_batch_augments(model: nn.Module) -> None:
    """The data preprocessor does not resize images without their regions."""
    augments = getattr(model.data_preprocessor, 'batch_augments', None) or []
    resizing = [a for a in augments if isinstance(a, (BatchResize, BatchSyncRandomResize))]
    if resizing:
        raise ValueError(
            f'the data preprocessor resizes the batch ({[type(a).__name__ for a in resizing]}) '
            'without the regions that CLIPCropEmbedding attached; use a resizing transform of the '
            'train pipeline instead'
        )


def _check_distillation(model: nn.Module, dataset: Dataset, transforms: Sequence) -> None:
    """The training data of a model with a ``distill_loss`` have regions."""
    distilling = any(getattr(m, 'distill_loss', None) is not None for m in model.modules())
    attaching = CLIPCropEmbedding | SegmentEmbeddings
    if distilling and not any(isinstance(t, attaching) for t in transforms):
        found = [type(transform).__name__ for transform in transforms]
        raise ValueError(
            f'the model has a distill_loss, but the train pipeline of {_describe(dataset)} has no '
            f'CLIPCropEmbedding (found {found}); add CLIPCropEmbedding, and PackViLDInputs in '
            'place of PackDetInputs, to its end, or train ViLD-text with distill_loss=None (GKC: '
            'SegmentEmbeddings and PackSegmentInputs, or distill_loss=None)'
        )


def _check_synonyms(model: nn.Module, dataset: Dataset, transforms: Sequence) -> None:
    """Names are drawn, if they need be, from the synonyms that the loss has, in their order."""
    losses = [module for module in model.modules() if isinstance(module, SynonymLoss)]
    drawing = [transform for transform in transforms if isinstance(transform, DrawSynonyms)]
    if not drawing and any(loss.way == 'random' for loss in losses):
        found = [type(transform).__name__ for transform in transforms]
        raise ValueError(
            'the model has a SynonymLoss(way="random"), but the train pipeline of '
            f'{_describe(dataset)} has no DrawSynonyms (found {found}); add it after '
            'SegmentInstances, and PackSegmentInputs in place of PackDetInputs, or take way="max"'
        )
    for loss, transform in product(losses, drawing):
        drawn, known = transform.text, loss.text
        if (drawn.names, drawn.synonyms) != (known.names, known.synonyms):
            first = next(
                (
                    f', such as {one!r} and {other!r} of category {number}'
                    for number, (one, other) in enumerate(
                        zip_longest(drawn.synonyms, known.synonyms)
                    )
                    if one != other
                ),
                '',
            )
            raise ValueError(
                f'DrawSynonyms draws from {transform.path} and SynonymLoss has {loss.path}, which '
                f'have different synonyms{first}; encode both from one file of '
                'tools/diversify_vocabulary.py'
            )


def _check_no_novel(
    classifiers: Sequence[CLIPTextClassifier], dataset: Dataset, labels: Counter
) -> None:
    """What is novel to a classifier is not annotated in training data."""
    masking = {name for c in classifiers if c.mask_novel for name in c.novel_names}
    names = classifiers[0].names
    if isinstance(dataset, OpenVocabularySegDataset):
        if seen := masking - {names[label] for label in dataset.dropped}:
            raise ValueError(
                f'{_describe(dataset)}, which is trained on, does not ignore the pixels of '
                f'{len(seen)} novel categories, such as {min(seen)!r}; leave drop_novel=True, and '
                'say which are novel in its vocabulary, base_vocabulary or metainfo. For a '
                'supervised baseline, set mask_novel=False in the CLIPTextClassifier'
            )
        return
    found = {name: labels[i] for i, name in enumerate(names) if name in masking and labels[i]}
    if found:
        raise ValueError(
            f'{_describe(dataset)}, which is trained on, has annotations of {len(found)} novel '
            f'categories: {dict(Counter(found).most_common(5))}; OpenVocabularyLVISDataset and '
            'OpenVocabularyCocoDataset drop them, unless drop_novel=False or test_mode=True. For a '
            'supervised baseline, set mask_novel=False in the CLIPTextClassifier'
        )
