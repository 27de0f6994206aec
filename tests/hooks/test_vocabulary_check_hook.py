"""What belongs together and what does not."""

import json
from pathlib import Path
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


@pytest.mark.parametrize(
    'wrap',
    [
        lambda dataset: ClassBalancedDataset(dataset, 0.1),
        lambda dataset: ConcatDataset([Labels(pipeline=dataset.pipeline.transforms), dataset]),
        lambda dataset: MultiImageMixDataset(
            dict(type=RepeatDataset, dataset=dataset, times=2), []
        ),
    ],
)
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(classes=('dog', 'cat', 'owl')), "label 0 is 'dog' in the one and 'cat' in the other"),
        (
            dict(classes=('cat', 'dog')),
            "2 classes and the text embeddings 3 words, and label 2 is None in .* 'owl' in",
        ),
        (dict(novel=('dog',)), r"only in the dataset: \['dog'\].*only in the text.*\['owl'\]"),
        (dict(store=('clip@2', 4)), 'from the teacher clip@2 .* from clip@1'),
        (dict(store=('clip@1', 8)), 'are 8 wide, .* and 4 wide'),
        (dict(store=('clip@1', 4), augment=RESIZE), r"the batch \(\['BatchSyncRandomResize'\]\)"),
        (dict(distill=True), r'pipeline of Labels \(labels.json\) has no CLIPCropEmbedding'),
        (dict(labels=[[2, 0], [1], [2]]), r"on, has annotations of 1 novel categories: {'owl': 2}"),
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


def test_looks_into_transforms(classifier, embedding):
    def inside(transform: dict) -> dict:
        choice = dict(type='RandomChoice', transforms=[[], [transform]])
        order = dict(type='RandomOrder', transforms=[dict(type='Compose', transforms=[choice])])
        return dict(type='MultiBranch', branch_field=['a'], a=[order])

    model = Detector(classifier(), distill_loss='any')
    train(model, Labels(pipeline=[inside(embedding())]))
    with pytest.raises(ValueError, match='from the teacher clip@2'):
        train(model, Labels(pipeline=[inside(embedding('clip@2'))]))
    with pytest.raises(ValueError, match='Expand .* which moves pixels'):
        train(model, Labels(pipeline=[inside(dict(type='Expand')), embedding()]))


def test_looks_into_the_pipeline_of_a_wrapper(classifier, embedding):
    model = Detector(classifier(), distill_loss='any')
    train(model, MultiImageMixDataset(Labels(), [embedding()]))
    with pytest.raises(ValueError, match='from the teacher clip@2'):
        train(model, MultiImageMixDataset(Labels(), [embedding('clip@2')]))
    with pytest.raises(ValueError, match='has no CLIPCropEmbedding'):  # every part must
        train(model, ConcatDataset([Labels(pipeline=[embedding()]), Labels()]))


def test_a_store_must_have_every_image(classifier, embedding):
    """Before training, not when the image comes up."""
    model = Detector(classifier(), distill_loss='any')
    with pytest.raises(MissingRecordError, match='no record of 1 of the 2 images .* image 1; run'):
        train(model, Labels(pipeline=[embedding(images=1)]))
    train(model, Labels(pipeline=[embedding(images=1, allow_missing=True)]))


def test_a_store_of_other_annotations(classifier, embedding, tmp_path):
    model, file = Detector(classifier(), distill_loss='any'), tmp_path / 'train.json'
    file.write_text('{}')
    labels = Labels(pipeline=[embedding(dataset=dataset_fingerprint(file))])
    labels.ann_file = str(file)
    train(model, labels)
    file.write_text('{"a": 1}')
    with pytest.raises(ValueError, match='another annotation file than .*train.json: bytes is 2 '):
        train(model, labels)


def test_novel_annotations_may_be_trained_on_purpose(classifier):
    train(Detector(classifier(mask_novel=False)), Labels([[2, 0]]))
    train(Detector(classifier(novel_categories=['dog'])), Labels([[2, 0]], novel=None))
    with pytest.raises(ValueError, match="novel categories: {'cat': 1}"):
        train(Detector(classifier(novel_categories=['cat'])), Labels([[2, 0]], novel=None))


def test_datasets_are_gone_through_once(classifier, embedding, metric):
    """However many metrics and epochs there are, and nothing else reads annotations."""
    seen = []

    class Counted(Labels):
        def get_data_info(self, index: int) -> dict:
            seen.append((self.metainfo['novel_classes'], index))
            return super().get_data_info(index)

    dataset, val = Counted(pipeline=[embedding()]), Counted(novel=None)
    runner = SimpleNamespace(
        model=Detector(classifier(), distill_loss='any'),
        train_loop=loop(dataset),
        val_loop=loop(val, metric('CocoMetric'), metric('LVISMetric')),
    )
    hook = HOOKS.build(dict(type='VocabularyCheckHook'))
    hook.before_train(runner)
    for _ in range(3):
        hook.before_val(runner)
    assert seen == [(('owl',), 0), (('owl',), 1), (None, 0), (None, 1)]


def test_other_loops(classifier):
    """Validation is checked before training, too."""
    model, other, message = Detector(classifier()), Labels(classes=NAMES[::-1]), "label 0 is 'owl'"
    with pytest.raises(ValueError, match=message):
        train(model, Labels(), other)
    for stage in ('val', 'test'):
        runner = SimpleNamespace(model=model, **{f'{stage}_loop': loop(other)})
        with pytest.raises(ValueError, match=message):
            getattr(HOOKS.build(dict(type='VocabularyCheckHook')), f'before_{stage}')(runner)


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


@pytest.fixture
def metric(tmp_path):
    """Config of a metric, built, of such a file with something changed."""

    def build(kind: str, change=lambda content: None) -> BaseMetric:
        content, path = annotation_file(), tmp_path / 'val.json'
        change(content)
        path.write_text(json.dumps(content))
        return METRICS.build(dict(type=kind, ann_file=str(path)))

    return build


KINDS = ('LVISMetric', 'FastLVISMetric', 'CocoMetric', 'OVCocoMetric')
CHANGES = {
    'another order': (
        reverse, KINDS, "has 3 classes, but in it 3, and label 0 is 'cat' in the one and 'owl'"
    ),
    'lacks a class': (
        lambda c: c['categories'].pop(1), KINDS, "but in it 2, and label 1 is 'dog' in"
    ),
    'one class more': (
        lambda c: c['categories'].append(dict(id=9, name='gnu', frequency='f')), KINDS[:2],
        "classes, but in it 4, and label 3 is None in the one and 'gnu' in the other; name",
    ),
    'other images': (
        lambda c: c['images'].pop(), KINDS, 'has .*/1.jpg, but none in it is image 1; name the'
    ),
    'another image of the id': (
        lambda c: c['images'][1].update(coco_url='train/7.jpg', file_name='7.jpg'), KINDS,
        'has .*/1.jpg, but (train/)?7.jpg in it is image 1',
    ),
}  # fmt: skip


@pytest.mark.parametrize('case', CHANGES)
def test_the_annotations_of_a_metric(classifier, metric, case):
    """Are the dataset's, or training and testing stop before they begin."""
    change, kinds, message = CHANGES[case]
    labels = Labels().at(Path('val'))
    for kind in kinds:
        right, wrong = metric(kind), metric(kind, change)
        for model in (Detector(classifier()), torch.nn.Linear(1, 1)):
            train(model, Labels(), labels, right, METRICS.build(dict(type='CocoMetric')))
            with pytest.raises(ValueError, match=message):
                train(model, Labels(), RepeatDataset(labels, 2), right, wrong)
            runner = SimpleNamespace(model=model, test_loop=loop(labels, wrong))
            with pytest.raises(ValueError, match=f'{kind} is not that of Labels .*{message}'):
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
        with pytest.raises(ValueError, match="none in it is image '0-0'"):
            HOOKS.build(dict(type='VocabularyCheckHook')).before_test(runner)


def test_a_metric_of_more_categories_than_are_tested(classifier, metric):
    """As of OV-COCO, which tests 65 of COCO's 80."""
    more = metric('OVCocoMetric', lambda c: c['categories'].insert(1, dict(id=9, name='gnu')))
    train(Detector(classifier()), Labels(), Labels(), more)
