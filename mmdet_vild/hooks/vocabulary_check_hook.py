"""Compares what the model, the dataset and the teacher's embeddings say before anything runs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from mmdet.evaluation import MultiDatasetsEvaluator
from mmdet.models.data_preprocessors import BatchResize, BatchSyncRandomResize
from mmdet.registry import HOOKS
from mmengine import fileio
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner, TestLoop, ValLoop
from torch import nn
from torch.utils.data import Dataset

from mmdet_vild.datasets import CLIPCropEmbedding
from mmdet_vild.datasets.geometry import check_transforms
from mmdet_vild.datasets.unwrapped import unwrapped
from mmdet_vild.embedding_store import EmbeddingStore, MissingRecordError
from mmdet_vild.models import CLIPTextClassifier, unwrapped_model
from mmdet_vild.vocabulary import same_teacher

_RESIZING = (BatchResize, BatchSyncRandomResize)
#: What lvis asks of each image, besides its id.
_LVIS_LISTS = ('neg_category_ids', 'not_exhaustive_category_ids')


@HOOKS.register_module()
class VocabularyCheckHook(Hook):
    """Stops a run whose labels, words or teachers do not belong together.

    A detector whose text embeddings are in another order than the dataset's labels trains and
    tests without complaint, and detects nonsense. Before training (for the validation dataset
    too), validation and testing this hook compares

    - the dataset's ``classes`` with the names in the text-embedding file, in order;
    - the dataset's ``novel_classes``, where it has any, with the novel ones of the classifier;
    - the teacher and the embedding width of the store with those of the text embeddings;
    - the annotation file that the store was made for with the dataset's;
    - that the model does not resize the batch, which would leave the stored boxes behind;

    and of any model, with text embeddings or a learned classifier,

    - that the first image of the dataset is there;
    - the categories and images of the metrics' annotation file with the dataset's.

    Before training also

    - the ``classes`` of the training dataset with those of the validation dataset;
    - that no annotation of a novel category is in the training data, unless the classifier has
      ``mask_novel=False``, as that of a baseline supervised with novel categories has;
    - that the train pipeline attaches regions where the model has a ``distill_loss``;

    and before testing a learned classifier, the ``classes`` that its checkpoint was trained with.

    Datasets and transforms are found inside their wrappers.

    Raises:
        ValueError: One of these is not so; the message names the first difference.
        FileNotFoundError: There is no such image.
    """

    _trained: tuple[str, ...] = ()

    def before_train(self, runner: Runner) -> None:
        """Check the training dataset and its store, and the validation dataset and metrics."""
        model, dataset = unwrapped_model(runner), runner.train_loop.dataloader.dataset
        _check(model, dataset)
        if runner.val_loop is not None:  # built by now
            _check_loop(model, runner.val_loop)
            check_same_classes(dataset, runner.val_loop.dataloader.dataset)
        if classifiers := _classifiers(model):
            for part, transforms in unwrapped(dataset):
                check_distillation(model, part, transforms)
                check_no_novel(classifiers, part)

    def before_val(self, runner: Runner) -> None:
        """Check the validation dataset and metrics."""
        _check_loop(unwrapped_model(runner), runner.val_loop)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the labels that a learned classifier was trained with."""
        meta = checkpoint.get('meta', {}).get('dataset_meta')
        self._trained = tuple(meta.get('classes', ())) if isinstance(meta, dict) else ()

    def before_test(self, runner: Runner) -> None:
        """Check the test dataset and metrics."""
        model, loop = unwrapped_model(runner), runner.test_loop
        _check_loop(model, loop)
        # The words of a text classifier are compared, and are no part of the checkpoint; nor are
        # labels asked for where a detector only proposes regions.
        if self._trained and not _classifiers(model) and any(map(_api_of, loop.evaluator.metrics)):
            for part, _ in unwrapped(loop.dataloader.dataset):
                check_trained_classes(self._trained, part)


def _check_loop(model: nn.Module, loop: ValLoop | TestLoop) -> None:
    dataset, metrics = loop.dataloader.dataset, loop.evaluator.metrics
    _check(model, dataset)
    if isinstance(loop.evaluator, MultiDatasetsEvaluator):  # a metric for each dataset
        pairs = zip(metrics, dataset.datasets, strict=False)
    else:
        pairs = ((metric, dataset) for metric in metrics)
    for metric, tested in pairs:
        for part, _ in unwrapped(tested):
            check_metric(metric, part)


def _check(model: nn.Module, dataset: Dataset) -> None:
    classifiers = _classifiers(model)
    for part, transforms in unwrapped(dataset):
        for classifier in classifiers:
            check_vocabulary(classifier, part.metainfo)
        check_first_image(part)
        attaching = [t for t in transforms if isinstance(t, CLIPCropEmbedding)]
        if classifiers and attaching:
            for transform in attaching:
                for classifier in classifiers:
                    check_teacher(classifier, transform.store)
                check_store(transform, part)
            check_transforms(transforms)
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
    if metainfo.get('novel_classes') is None:
        return
    found = set(metainfo['novel_classes'])
    expected = set(classifier.novel_names)
    if found != expected:
        raise ValueError(
            'the dataset and the text embeddings disagree on which categories are novel; only in '
            f'the dataset: {sorted(found - expected)[:5]}, only in the text embeddings: '
            f'{sorted(expected - found)[:5]}'
        )


def check_same_classes(train: Dataset, val: Dataset) -> None:
    """Raise a ValueError where labels of the validation dataset mean something else."""
    parts = [part for dataset in (train, val) for part, _ in unwrapped(dataset)]
    first, *others = [part for part in parts if part.metainfo.get('classes')]
    for other in others:
        one, two = (tuple(part.metainfo['classes']) for part in (first, other))
        if one != two:
            raise ValueError(
                f'{_describe(first)}, which is trained on, has {len(one)} classes and '
                f'{_describe(other)} {len(two)}{_first_difference(one, two)}; both need the same '
                'categories in the same order'
            )


def check_trained_classes(trained: tuple[str, ...], dataset: Dataset) -> None:
    """Raise a ValueError where a learned classifier is tested on other labels than it knows."""
    classes = tuple(dataset.metainfo.get('classes') or trained)
    if classes != trained:
        raise ValueError(
            f'{_describe(dataset)} has {len(classes)} classes, and the checkpoint was trained with '
            f'{len(trained)}{_first_difference(classes, trained)}; a learned classifier can only '
            'be tested on its own categories in the same order'
        )


def check_metric(metric: BaseMetric, dataset: Dataset) -> None:
    """Raise a ValueError where a metric would compare detections with other annotations.

    mmdet's COCO and LVIS metrics read an annotation file of their own, and count labels in the
    order of its categories.

    Args:
        metric: Checked if it has read an annotation file in COCO's or LVIS's format.
        dataset: What is tested, in no wrappers.
    """
    api = _api_of(metric)
    if api is None:
        return
    lvis = hasattr(metric, '_lvis_api')
    kind = type(metric).__name__
    advice = (
        'the ann_file of val_evaluator and test_evaluator must be that of val_dataloader.dataset '
        'and test_dataloader.dataset'
    )
    classes = tuple(dataset.metainfo['classes'])
    ids = api.get_cat_ids() if lvis else api.get_cat_ids(cat_names=classes)
    names = tuple(api.cats[category_id]['name'] for category_id in ids)
    if classes != names:
        raise ValueError(
            f'{_describe(dataset)} has {len(classes)} classes, of which the annotation file of '
            f'{kind} has {len(set(classes) & set(names))} among {len(api.cats)} '
            f'categories{_first_difference(classes, names)}; {advice}'
        )
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path, image = info.get('img_path') or '', api.imgs.get(info['img_id'])
        # Without a name where the metric made the annotations of what the dataset gave it.
        name = image and image.get('coco_url' if lvis else 'file_name')
        if image is None or (name and path and PurePath(name).name != PurePath(path).name):
            raise ValueError(
                f'image {info["img_id"]!r} of {_describe(dataset)} is {path or "without a file"}, '
                f'and {"none" if image is None else name} in the annotation file of {kind}; '
                f'{advice}'
            )
    if lvis and not metric.format_only:
        _check_lvis_fields(api, kind)


def _api_of(metric: BaseMetric):
    """What has read the annotation file of a metric; None if nothing has."""
    return getattr(metric, '_lvis_api', None) or getattr(metric, '_coco_api', None)


def _check_lvis_fields(lvis, kind: str) -> None:
    for category in lvis.cats.values():
        if category.get('frequency') not in ('f', 'c', 'r'):
            raise ValueError(
                f'the category {category["name"]!r} in the annotation file of {kind} has the '
                f'frequency {category.get("frequency")!r}; LVIS metrics need "f", "c" or "r"'
            )
    for image in lvis.imgs.values():
        if absent := [key for key in _LVIS_LISTS if not isinstance(image.get(key), list)]:
            raise ValueError(
                f'image {image["id"]!r} in the annotation file of {kind} has no '
                f'{" and no ".join(absent)}; LVIS metrics need both, lists of category ids; where '
                'every object in every image is annotated, use CocoMetric or OVCocoMetric'
            )


def check_first_image(dataset: Dataset) -> None:
    """Raise a FileNotFoundError where a dataset looks for its images in the wrong folder."""
    path = dataset.get_data_info(0).get('img_path') if len(dataset) else None
    if path and not fileio.exists(path, backend_args=getattr(dataset, 'backend_args', None)):
        raise FileNotFoundError(
            f'there is no image at {path}, the first of {_describe(dataset)}; check data_root and '
            f'data_prefix, found {getattr(dataset, "data_prefix", None)}'
        )


def check_teacher(classifier: CLIPTextClassifier, store) -> None:
    """Raise a ValueError where a store holds the embeddings of another teacher."""
    same = same_teacher(store.teacher, classifier.teacher)
    if not same or store.embed_dims != classifier.embed_dims:
        raise ValueError(
            f'the region embeddings come from the teacher {store.teacher} and are '
            f'{store.embed_dims} wide, the text embeddings from {classifier.teacher} and '
            f'{classifier.embed_dims} wide; both must come from one teacher'
        )


def check_store(transform: CLIPCropEmbedding, dataset: Dataset) -> None:
    """Raise where a store was made for another annotation file, or lacks an image.

    Args:
        transform: What reads the store; only an :class:`EmbeddingStore` is checked.
        dataset: A training dataset.

    Raises:
        MissingRecordError: It has no record of an image.
        ValueError: It was made for another annotation file than the dataset's.
    """
    store = transform.store
    if not isinstance(store, EmbeddingStore):
        return
    if store.header['dataset'] and getattr(dataset, 'ann_file', None):
        store.check_dataset(dataset.ann_file, getattr(dataset, 'backend_args', None))
    if transform.allow_missing:
        return
    done = set(store.img_ids())
    ids = [dataset.get_data_info(index)['img_id'] for index in range(len(dataset))]
    missing = [img_id for img_id in ids if img_id not in done]
    if missing:
        raise MissingRecordError(
            f'the embedding store at {store.path} has no record of {len(missing)} of the '
            f'{len(ids)} images of {_describe(dataset)}, such as image {missing[0]!r}; run the '
            'extraction again, which embeds those alone'
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


def check_distillation(model: nn.Module, dataset: Dataset, transforms: Sequence) -> None:
    """Raise a ValueError where a model is to distill and a dataset gives it no regions.

    Args:
        model: The detector.
        dataset: A training dataset.
        transforms: All transforms that its samples go through, in no wrappers.
    """
    distilling = any(getattr(m, 'distill_loss', None) is not None for m in model.modules())
    if distilling and not any(isinstance(t, CLIPCropEmbedding) for t in transforms):
        found = [type(transform).__name__ for transform in transforms]
        raise ValueError(
            f'the model has a distill_loss, but the train pipeline of {_describe(dataset)} has no '
            f'CLIPCropEmbedding (found {found}); add CLIPCropEmbedding, and PackViLDInputs in '
            'place of PackDetInputs, to its end, or train ViLD-text with distill_loss=None'
        )


def check_no_novel(classifiers: Sequence[CLIPTextClassifier], dataset: Dataset) -> None:
    """Raise a ValueError where annotations of novel categories are in a training dataset.

    Args:
        classifiers: Those of the model; what is novel to one with ``mask_novel`` counts.
        dataset: A training dataset, whose ``classes`` are those of the classifiers.
    """
    novel = {
        label for c in classifiers if c.mask_novel for label in c.novel.nonzero().flatten().tolist()
    }
    if not novel:
        return
    counts = Counter(
        instance['bbox_label']
        for index in range(len(dataset))
        for instance in dataset.get_data_info(index)['instances']
        if instance['bbox_label'] in novel
    )
    if counts:
        names = classifiers[0].names
        most = ', '.join(f'{count} of {names[label]!r}' for label, count in counts.most_common(5))
        raise ValueError(
            f'the training data of {_describe(dataset)} has {sum(counts.values())} annotations of '
            f'{len(counts)} novel categories ({most}{", ..." if len(counts) > 5 else ""}), which '
            'training must not see; use OpenVocabularyLVISDataset or OpenVocabularyCocoDataset, '
            'which drop them unless drop_novel=False or test_mode=True, or remove them from the '
            'annotation file. To train with them on purpose, as a supervised baseline, set '
            'mask_novel=False in the CLIPTextClassifier'
        )


def _first_difference(classes: tuple[str, ...], names: tuple[str, ...]) -> str:
    count = min(len(classes), len(names))
    different = np.flatnonzero([classes[i] != names[i] for i in range(count)])
    if not len(different):
        return ''
    i = different[0]
    return f', and label {i} is {classes[i]!r} in the one and {names[i]!r} in the other'


def _describe(dataset: Dataset) -> str:
    return f'{type(dataset).__name__} ({getattr(dataset, "ann_file", "no annotation file")})'


def _classifiers(model: nn.Module) -> list[CLIPTextClassifier]:
    return [module for module in model.modules() if isinstance(module, CLIPTextClassifier)]
