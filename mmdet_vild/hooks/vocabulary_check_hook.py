"""Compares what the model, the dataset and the teacher's embeddings say before anything runs."""

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import PurePath

from mmdet.evaluation import MultiDatasetsEvaluator
from mmdet.models.data_preprocessors import BatchResize, BatchSyncRandomResize
from mmdet.registry import HOOKS
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner, TestLoop, ValLoop
from torch import nn
from torch.utils.data import Dataset

from mmdet_vild.datasets import CLIPCropEmbedding
from mmdet_vild.datasets.geometry import check_transforms
from mmdet_vild.datasets.unwrapped import unwrapped
from mmdet_vild.embedding_store import EmbeddingStore, MissingRecordError
from mmdet_vild.models import CLIPTextClassifier, OpenVocabularyMixin, unwrapped_model
from mmdet_vild.vocabulary import same_teacher

_RESIZING = (BatchResize, BatchSyncRandomResize)


@HOOKS.register_module()
class VocabularyCheckHook(Hook):
    """Stops a run whose labels, words or teachers do not belong together.

    A detector whose text embeddings are in another order than the dataset's labels trains and
    tests without complaint, and detects nonsense. Before training (for the validation dataset
    too), validation and testing this hook compares

    - the dataset's ``classes`` with the names in the text-embedding file, in order, and its
      ``novel_classes``, where it has any, with the novel ones of the classifier;
    - the categories and images of the metrics' annotation files with the dataset's, of any model;

    and before training

    - the store's teacher and embedding width with those of the text embeddings, and the annotation
      file that it was made for, and its images, with the dataset's;
    - that nothing resizes the batch, which would leave the stored boxes behind;
    - that no annotation of a novel category is in the training data, unless the classifier has
      ``mask_novel=False``, as that of a baseline supervised with novel categories has;
    - that the train pipeline attaches regions where the model has a ``distill_loss``;
    - that the teacher that words will be asked of could be built, and encoded the vocabulary.

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
                for classifier in classifiers:
                    check_vocabulary(classifier, dataset)
                check_distillation(model, dataset, transforms)
                paths, labels = read(dataset)
                for transform in transforms:
                    if isinstance(transform, CLIPCropEmbedding):
                        check_store(classifiers, transform, dataset, paths)
                        check_transforms(transforms)
                        check_batch_augments(model)
                check_no_novel(classifiers, dataset, labels)
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
                for classifier in _classifiers(model):
                    check_vocabulary(classifier, dataset)
                paths, _ = read(dataset)
                for metric in metrics[number : number + 1] if own else metrics:
                    check_metric(metric, dataset, paths)
        self._checked = loop


def read(dataset: Dataset) -> tuple[dict, Counter]:
    """Image id -> path of the images of a dataset, and how many annotations have each label."""
    paths, labels = {}, Counter()
    for info in map(dataset.get_data_info, range(len(dataset))):
        paths[info['img_id']] = info.get('img_path') or ''
        labels.update(instance['bbox_label'] for instance in info.get('instances', ()))
    return paths, labels


def check_vocabulary(classifier: CLIPTextClassifier, dataset: Dataset) -> None:
    """Raise a ValueError where labels or the novel split of a dataset differ from the words'."""
    classes, words = tuple(dataset.metainfo['classes']), classifier.names
    if classes != words:
        raise ValueError(
            f'{_describe(dataset)} has {len(classes)} classes and the text embeddings '
            f'{len(words)} words{_difference(classes, words)}; encode the vocabulary of its '
            'annotation file with tools/encode_vocabulary.py'
        )
    if dataset.metainfo.get('novel_classes') is None:
        return
    found, expected = set(dataset.metainfo['novel_classes']), set(classifier.novel_names)
    if found != expected:
        raise ValueError(
            f'{_describe(dataset)} and the text embeddings disagree on which categories are novel; '
            f'only in the dataset: {sorted(found - expected)[:5]}, only in the text embeddings: '
            f'{sorted(expected - found)[:5]}'
        )


def check_metric(metric: BaseMetric, dataset: Dataset, paths: dict) -> None:
    """Raise a ValueError where a metric would compare detections with other annotations.

    mmdet's COCO and LVIS metrics read an annotation file of their own, and count labels in the
    order of its categories. ``paths`` are those of the images of the dataset.
    """
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


def check_store(
    classifiers: Sequence[CLIPTextClassifier],
    transform: CLIPCropEmbedding,
    dataset: Dataset,
    paths: dict,
) -> None:
    """Raise a ValueError where a store has another teacher or annotations, or lacks an image."""
    store = transform.store
    for classifier in classifiers:
        same = same_teacher(store.teacher, classifier.teacher)
        if not same or store.embed_dims != classifier.embed_dims:
            raise ValueError(
                f'the region embeddings come from the teacher {store.teacher} and are '
                f'{store.embed_dims} wide, the text embeddings from {classifier.teacher} and '
                f'{classifier.embed_dims} wide; both must come from one teacher'
            )
    if not isinstance(store, EmbeddingStore):
        return
    if store.header['dataset'] and getattr(dataset, 'ann_file', None):
        store.check_dataset(dataset.ann_file, getattr(dataset, 'backend_args', None))
    done = set(store.img_ids())
    missing = [img_id for img_id in paths if img_id not in done]
    if missing and not transform.allow_missing:
        raise MissingRecordError(
            f'the embedding store at {store.path} has no record of {len(missing)} of the '
            f'{len(paths)} images of {_describe(dataset)}, such as image {missing[0]!r}; '
            'run the extraction again, which embeds those alone'
        )


def check_batch_augments(model: nn.Module) -> None:
    """Raise a ValueError where the data preprocessor resizes images and not their regions."""
    augments = getattr(model.data_preprocessor, 'batch_augments', None) or []
    if resizing := [type(a).__name__ for a in augments if isinstance(a, _RESIZING)]:
        raise ValueError(
            f'the data preprocessor resizes the batch ({resizing}) without the regions that '
            'CLIPCropEmbedding attached; use a resizing transform of the train pipeline instead'
        )


def check_distillation(model: nn.Module, dataset: Dataset, transforms: Sequence) -> None:
    """Raise a ValueError where a model has a ``distill_loss`` and its training data no regions."""
    distilling = any(getattr(m, 'distill_loss', None) is not None for m in model.modules())
    if distilling and not any(isinstance(t, CLIPCropEmbedding) for t in transforms):
        found = [type(transform).__name__ for transform in transforms]
        raise ValueError(
            f'the model has a distill_loss, but the train pipeline of {_describe(dataset)} has no '
            f'CLIPCropEmbedding (found {found}); add CLIPCropEmbedding, and PackViLDInputs in '
            'place of PackDetInputs, to its end, or train ViLD-text with distill_loss=None'
        )


def check_no_novel(
    classifiers: Sequence[CLIPTextClassifier], dataset: Dataset, labels: Counter
) -> None:
    """Raise a ValueError where what is novel to a classifier is annotated in training data."""
    masking = [c.novel.nonzero().flatten().tolist() for c in classifiers if c.mask_novel]
    names = classifiers[0].names
    counts = Counter({names[label]: labels[label] for label in {*sum(masking, [])} & {*labels}})
    if counts:
        raise ValueError(
            f'{_describe(dataset)}, which is trained on, has annotations of {len(counts)} novel '
            f'categories: {dict(counts.most_common(5))}; OpenVocabularyLVISDataset and '
            'OpenVocabularyCocoDataset drop them, unless drop_novel=False or test_mode=True. For a '
            'supervised baseline, set mask_novel=False in the CLIPTextClassifier'
        )


def _difference(classes: Sequence[str], names: Sequence[str]) -> str:
    for label, (one, other) in enumerate(zip_longest(classes, names)):
        if one != other:
            return f', and label {label} is {one!r} in the one and {other!r} in the other'
    return ''


def _describe(dataset: Dataset) -> str:
    return f'{type(dataset).__name__} ({getattr(dataset, "ann_file", "no annotation file")})'


def _classifiers(model: nn.Module) -> list[CLIPTextClassifier]:
    return [module for module in model.modules() if isinstance(module, CLIPTextClassifier)]
