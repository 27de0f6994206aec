"""What belongs together and what does not."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.datasets import ConcatDataset, MultiImageMixDataset
from mmdet.evaluation import MultiDatasetsEvaluator
from mmdet.models import DetDataPreprocessor
from mmdet.registry import HOOKS, METRICS
from mmengine.dataset import BaseDataset, ClassBalancedDataset, RepeatDataset
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.optim import SGD

from mmdet_vild.embedding_store import (
    EmbeddingRecord,
    EmbeddingStore,
    MissingRecordError,
    dataset_fingerprint,
)
from mmdet_vild.models import CLIPTextClassifier
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl

NAMES = ('cat', 'dog', 'owl')
RESIZE = dict(type='BatchSyncRandomResize', random_size_range=(64, 128))


class Detector(BaseModel):
    """A classifier, and whatever else the hook looks at."""

    def __init__(self, classifier, augment=None, distill_loss=None) -> None:
        preprocessor = DetDataPreprocessor(batch_augments=[augment] if augment else None)
        super().__init__(data_preprocessor=preprocessor)
        self.classifier = classifier
        self.distill_loss = distill_loss

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise AssertionError('the hook came too late')


class Labels(BaseDataset):
    """Images that are lists of labels."""

    def __init__(self, labels=((0, 1), (1,)), classes=NAMES, novel=('owl',), pipeline=()) -> None:
        self.labels = labels
        super().__init__(
            ann_file='labels.json',
            serialize_data=False,
            metainfo=dict(classes=classes, novel_classes=novel),
            pipeline=list(pipeline),
        )

    def load_data_list(self) -> list[dict]:
        return [
            dict(img_id=img_id, instances=[dict(bbox_label=label) for label in labels])
            for img_id, labels in enumerate(self.labels)
        ]

    def at(self, path) -> 'Labels':
        """The same, of images that have files."""
        for index, info in enumerate(self.data_list):
            info['img_path'] = str(path / f'{index}.jpg')
        return self

    def get_cat_ids(self, index: int) -> list[int]:
        return list(self.labels[index])


@pytest.fixture
def embedding(tmp_path):
    """Config of CLIPCropEmbedding on a store of a teacher, with records of two images."""

    def make(teacher='clip@1', embed_dims=4, images=2, dataset=None, **kwargs) -> dict:
        path = str(tmp_path / f'{teacher}-{embed_dims}-{images}')
        source = dict(teacher=teacher, embed_dims=embed_dims)
        shard = EmbeddingStore.create(path, source, dataset or {})
        arrays = (np.zeros(shape, np.float32) for shape in ((0, 4), 0, (0, embed_dims)))
        record = EmbeddingRecord(*arrays)
        shard.write([(img_id, record, (10, 10)) for img_id in range(images)])
        shard.close()
        store = dict(type='EmbeddingStore', path=path)
        return dict(type='CLIPCropEmbedding', store=store, **kwargs)

    return make


@pytest.fixture
def classifier(tmp_path):
    path = str(tmp_path / 'text.npz')
    TextEmbeddings(np.eye(3, 4), NAMES, np.array([False, False, True]), 'clip@1').save(path)
    return lambda **kwargs: CLIPTextClassifier(8, 4, path, **kwargs)


def loop(dataset, *metrics) -> SimpleNamespace:
    return SimpleNamespace(
        dataloader=SimpleNamespace(dataset=dataset), evaluator=Evaluator(list(metrics))
    )


def train(model, dataset, val=None, *metrics) -> None:
    loops = dict(train_loop=loop(dataset), val_loop=val and loop(val, *metrics))
    HOOKS.build(dict(type='VocabularyCheckHook')).before_train(
        SimpleNamespace(model=model, **loops)
    )


def test_passes_what_fits(classifier, embedding):
    train(Detector(classifier()), Labels())
    train(Detector(classifier()), Labels(novel=None))
    train(Detector(classifier(), RESIZE), Labels())
    pad = dict(type='BatchFixedSizePad', size=(64, 64))
    train(Detector(classifier(), pad, distill_loss='any'), Labels(pipeline=[embedding()]))
    train(torch.nn.Linear(1, 1), Labels([[2]], classes=('other',)))


WRAPPERS = {
    'plain': lambda dataset: dataset,
    'repeated': lambda dataset: RepeatDataset(dataset, 2),
    'balanced': lambda dataset: ClassBalancedDataset(dataset, 0.1),
    'mixed': lambda dataset: MultiImageMixDataset(dataset, []),
    'concatenated': lambda dataset: ConcatDataset([Labels(pipeline=dataset.pipeline.transforms),
                                                   dataset]),
    'repeated in mixed': lambda dataset: MultiImageMixDataset(
        dict(type=RepeatDataset, dataset=dataset, times=2), []
    ),
}  # fmt: skip


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS.keys())
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(classes=('dog', 'cat', 'owl')), "label 0 is 'dog' in the one and 'cat' in the other"),
        (dict(classes=('cat', 'dog')), 'has 2 classes and the text embeddings 3 words; encode'),
        (dict(novel=('dog',)), r"only in the dataset: \['dog'\].*only in the text.*\['owl'\]"),
        (dict(store=('clip@2', 4)), 'from the teacher clip@2 .* from clip@1'),
        (dict(store=('clip@1', 8)), 'are 8 wide, .* and 4 wide'),
        (dict(store=('clip@1', 4), augment=RESIZE), r"the batch \(\['BatchSyncRandomResize'\]\)"),
        (dict(distill=True), r'pipeline of Labels \(labels.json\) has no CLIPCropEmbedding'),
        (dict(labels=[[2, 0], [1], [2]]), r"has 2 annotations of 1 novel categories \(2 of 'owl'"),
    ],
)
def test_stops_what_does_not_fit(classifier, embedding, wrap, arguments, message):
    arguments = dict(arguments)
    store = arguments.pop('store', None)
    augment = arguments.pop('augment', None)
    distill_loss = 'any' if arguments.pop('distill', False) else None
    pipeline = [embedding(*store)] if store else []
    model = Detector(classifier(), augment, distill_loss)
    with pytest.raises(ValueError, match=message):
        train(model, wrap(Labels(pipeline=pipeline, **arguments)))


def test_looks_for_the_first_image(classifier, tmp_path):
    labels = Labels().at(tmp_path / 'nowhere')
    for datasets in ([labels], [Labels(), RepeatDataset(labels, 2)]):
        with pytest.raises(FileNotFoundError, match=r'nowhere/0.jpg, the first of Labels \(labels'):
            train(Detector(classifier()), *datasets)
    (tmp_path / '0.jpg').touch()
    train(Detector(classifier()), Labels().at(tmp_path))


NESTS = {
    'RandomApply': lambda t: dict(type='RandomApply', transforms=[t]),
    'RandomChoice': lambda t: dict(type='RandomChoice', transforms=[[], [t]]),
    'TransformBroadcaster': lambda t: dict(
        type='TransformBroadcaster', transforms=[t], mapping=dict(img=['a', 'b'])
    ),
    'MultiBranch': lambda t: dict(type='MultiBranch', branch_field=['a'], a=[t]),
    'Compose in RandomOrder': lambda t: dict(
        type='RandomOrder', transforms=[dict(type='Compose', transforms=[t])]
    ),
}


@pytest.mark.parametrize('nest', NESTS.values(), ids=NESTS.keys())
def test_looks_into_transforms(classifier, embedding, nest):
    model = Detector(classifier(), distill_loss='any')
    train(model, Labels(pipeline=[nest(embedding())]))
    with pytest.raises(ValueError, match='from the teacher clip@2'):
        train(model, Labels(pipeline=[nest(embedding('clip@2'))]))
    with pytest.raises(ValueError, match='Expand .* which moves pixels'):
        train(model, Labels(pipeline=[nest(dict(type='Expand')), embedding()]))


def test_looks_into_the_pipeline_of_a_wrapper(classifier, embedding):
    model = Detector(classifier(), distill_loss='any')
    train(model, MultiImageMixDataset(Labels(), [embedding()]))
    with pytest.raises(ValueError, match='from the teacher clip@2'):
        train(model, MultiImageMixDataset(Labels(), [embedding('clip@2')]))
    mosaic = dict(type='Mosaic', img_scale=(8, 8))
    with pytest.raises(ValueError, match='Mosaic .* which moves pixels'):
        train(model, MultiImageMixDataset(Labels(), [mosaic, embedding()]))


def test_every_part_must_give_regions(classifier, embedding):
    model = Detector(classifier(), distill_loss='any')
    parts = [Labels(pipeline=[embedding()]), Labels()]
    with pytest.raises(ValueError, match='has no CLIPCropEmbedding'):
        train(model, ConcatDataset(parts))


def test_a_store_must_have_every_image(classifier, embedding):
    """Before training, not when the image comes up."""
    model = Detector(classifier(), distill_loss='any')
    with pytest.raises(MissingRecordError, match='no record of 1 of the 2 images .* image 1; run'):
        train(model, Labels(pipeline=[embedding(images=1)]))
    train(model, Labels(pipeline=[embedding(images=1, allow_missing=True)]))


def test_a_store_of_other_annotations(classifier, embedding, tmp_path):
    model = Detector(classifier(), distill_loss='any')
    file, other = tmp_path / 'train.json', tmp_path / 'other.json'
    file.write_text('{}')
    other.write_text('{"a": 1}')
    transform = embedding(dataset=dataset_fingerprint(file))
    for ann_file in (file, other):
        labels = Labels(pipeline=[transform])
        labels.ann_file = str(ann_file)
        if ann_file is file:
            train(model, labels)
            continue
        with pytest.raises(
            ValueError, match=r'another annotation file than .*other.json: bytes is 2 '
        ):
            train(model, labels)


def test_novel_annotations_may_be_trained_on_purpose(classifier):
    train(Detector(classifier(mask_novel=False)), Labels([[2, 0]]))
    train(Detector(classifier(novel_categories=['dog'])), Labels([[2, 0]], novel=None))
    with pytest.raises(ValueError, match="1 of 'cat'"):
        train(Detector(classifier(novel_categories=['cat'])), Labels([[2, 0]], novel=None))


class NoMetric(BaseMetric):
    def process(self, data_batch, data_samples) -> None: ...

    def compute_metrics(self, results) -> dict:
        return {}


def test_val_is_checked_before_training(classifier, tmp_path):
    """In a Runner, which has built the validation dataset by then; it is built once."""
    built = []

    class Val(Labels):
        def __init__(self) -> None:
            built.append(self)
            super().__init__(classes=NAMES[::-1])

    def loader(dataset) -> dict:
        sampler = dict(type='DefaultSampler', shuffle=False)
        return dict(dataset=dataset, sampler=sampler, batch_size=1, num_workers=0)

    runner = Runner(
        Detector(classifier()),
        str(tmp_path),
        train_dataloader=loader(Labels()),
        val_dataloader=loader(dict(type=Val)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        val_cfg=dict(),
        val_evaluator=[NoMetric()],
        optim_wrapper=dict(optimizer=dict(type=SGD, lr=0.1)),
        custom_hooks=[dict(type='VocabularyCheckHook')],
        default_scope='mmdet',
        experiment_name='vocabulary-check',
    )
    for run in (runner.train, runner.val):
        with pytest.raises(ValueError, match="label 0 is 'owl' in the one and 'cat' in the other"):
            run()
    assert len(built) == 1


def test_before_test(classifier):
    runner = SimpleNamespace(
        model=Detector(classifier()), test_loop=loop(Labels(classes=NAMES[:2]))
    )
    with pytest.raises(ValueError, match='has 2 classes'):
        HOOKS.build(dict(type='VocabularyCheckHook')).before_test(runner)


def test_labels_of_training_and_validation_without_words():
    """Of a detector with a learned classifier."""
    baseline = torch.nn.Linear(1, 1)
    train(baseline, Labels(), RepeatDataset(Labels(), 2))
    train(baseline, Labels(), Labels(classes=()))  # as of a dataset without labels
    message = r'has 3 classes and Labels \(labels.json\) 3, and label 0 is .cat. in .* .owl. in'
    for val in (
        Labels(classes=NAMES[::-1]),
        ConcatDataset([Labels(), Labels(classes=NAMES[::-1])]),
    ):
        with pytest.raises(ValueError, match=message):
            train(baseline, Labels(), val)
    with pytest.raises(ValueError, match='has 3 classes and .* 2; both need the same'):
        train(baseline, ConcatDataset([Labels(), Labels(classes=NAMES[:2])]), Labels())


def annotation_file() -> dict:
    """Annotations of the two images of ``Labels``, as of LVIS and of COCO."""
    absent = dict(neg_category_ids=[], not_exhaustive_category_ids=[])
    images = [dict(id=i, coco_url=f'val/{i}.jpg', file_name=f'{i}.jpg', **absent) for i in (0, 1)]
    categories = [dict(id=i, name=name, frequency='fcr'[i]) for i, name in enumerate(NAMES)]
    return dict(images=images, categories=categories, annotations=[])


def reverse(content: dict) -> None:
    names = [category['name'] for category in content['categories']]
    for category, name in zip(content['categories'], names[::-1], strict=True):
        category['name'] = name


LVIS = ('LVISMetric', 'FastLVISMetric')
COCO = ('CocoMetric', 'OVCocoMetric')
CHANGES = {
    'another order': (
        reverse, (*LVIS, *COCO), 'which the .* of .*Metric has 3 among 3 categories, and label 0 '
        "is 'cat' in the one and 'owl' in the other; the ann_file of val_evaluator"
    ),
    'lacks a class': (
        lambda c: c['categories'].pop(1), COCO, "has 2 among 2 categories, and label 1 is 'dog' in"
    ),
    'one class more': (
        lambda c: c['categories'].append(dict(id=9, name='gnu', frequency='f')), LVIS,
        'has 3 classes, of which .* has 3 among 4 categories; the ann_file',
    ),
    'other images': (lambda c: c['images'].pop(), (*LVIS, *COCO), 'image 1 of .* and none in the '),
    'another image of the id': (
        lambda c: c['images'][1].update(coco_url='train/7.jpg', file_name='7.jpg'),
        (*LVIS, *COCO), '1 of .* is .*/1.jpg, and (train/)?7.jpg in the annotation file of',
    ),
    'no frequency': (
        lambda c: c['categories'][1].pop('frequency'), LVIS, "'dog' in .* the frequency None; LVIS"
    ),
    'nothing known to be absent': (
        lambda c: [image.pop('neg_category_ids') for image in c['images']], LVIS,
        'image 0 in .* has no neg_category_ids; .* use CocoMetric',
    ),
}  # fmt: skip


@pytest.mark.parametrize('case', CHANGES)
def test_the_annotations_of_a_metric(classifier, tmp_path, case):
    """Are the dataset's, or training and testing stop before they begin."""
    change, kinds, message = CHANGES[case]
    (tmp_path / '0.jpg').touch()
    labels, path = Labels().at(tmp_path), tmp_path / 'val.json'
    for kind in kinds:
        metrics = []
        for changed in (False, True):
            content = annotation_file()
            if changed:
                change(content)
            path.write_text(json.dumps(content))
            metrics.append(METRICS.build(dict(type=kind, ann_file=str(path))))
        right, wrong = metrics
        for model in (Detector(classifier()), torch.nn.Linear(1, 1)):
            train(model, labels, labels, right, METRICS.build(dict(type='CocoMetric')))
            with pytest.raises(ValueError, match=message):
                train(model, labels, RepeatDataset(labels, 2), right, wrong)
            runner = SimpleNamespace(model=model, test_loop=loop(labels, wrong))
            with pytest.raises(ValueError, match=message):
                HOOKS.build(dict(type='VocabularyCheckHook')).before_test(runner)


def test_each_dataset_has_a_metric_of_its_own(tmp_path):
    parts, metrics = [Labels(), Labels()], []
    for number, part in enumerate(parts):
        content = annotation_file()
        for image, info in zip(content['images'], part.data_list, strict=True):
            image['id'] = info['img_id'] = f'{number}-{info["img_id"]}'
        path = tmp_path / f'{number}.json'
        path.write_text(json.dumps(content))
        metrics.append(METRICS.build(dict(type='CocoMetric', ann_file=str(path))))
    model, tested = torch.nn.Linear(1, 1), loop(ConcatDataset(parts))
    for evaluator in (MultiDatasetsEvaluator(metrics, 'ab'), Evaluator(metrics)):
        tested.evaluator = evaluator
        runner = SimpleNamespace(model=model, test_loop=tested)
        if isinstance(evaluator, MultiDatasetsEvaluator):
            HOOKS.build(dict(type='VocabularyCheckHook')).before_test(runner)
            continue
        with pytest.raises(ValueError, match="image '1-0' of .* and none in"):
            HOOKS.build(dict(type='VocabularyCheckHook')).before_test(runner)


def test_labels_of_a_checkpoint(classifier, tmp_path):
    """Of a learned classifier; words are no part of a checkpoint."""
    path = tmp_path / 'val.json'
    path.write_text(json.dumps(annotation_file()))
    metric = METRICS.build(dict(type='CocoMetric', ann_file=str(path)))

    def test(model, trained, *metrics) -> None:
        runner = SimpleNamespace(model=model, test_loop=loop(Labels(), *metrics))
        hook = HOOKS.build(dict(type='VocabularyCheckHook'))
        hook.after_load_checkpoint(runner, dict(meta=trained and dict(dataset_meta=trained)))
        hook.before_test(runner)

    baseline, other = torch.nn.Linear(1, 1), dict(classes=NAMES[::-1])
    test(baseline, dict(classes=NAMES), metric)
    test(baseline, {}, metric)
    test(baseline, other)  # which only proposes regions, for all that is known
    test(Detector(classifier()), other, metric)
    with pytest.raises(ValueError, match="trained with 3, and label 0 is 'cat' in .* 'owl' in"):
        test(baseline, other, metric)


def test_a_metric_of_more_categories_than_are_tested(classifier, tmp_path):
    """As of OV-COCO, which tests 65 of COCO's 80."""
    content = annotation_file()
    content['categories'].insert(1, dict(id=9, name='gnu'))
    (tmp_path / 'val.json').write_text(json.dumps(content))
    metric = METRICS.build(dict(type='OVCocoMetric', ann_file=str(tmp_path / 'val.json')))
    train(Detector(classifier()), Labels(), Labels(), metric)
