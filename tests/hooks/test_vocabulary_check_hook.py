"""What belongs together and what does not."""

import json
from pathlib import Path
from types import SimpleNamespace

import mmcv
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

from mmdet_vild.datasets import OpenVocabularySegDataset
from mmdet_vild.embedding_store import (
    EmbeddingRecord,
    EmbeddingStore,
    MissingRecordError,
    dataset_fingerprint,
)
from mmdet_vild.hooks.vocabulary_check_hook import PROBED
from mmdet_vild.models import CLIPTextClassifier, OpenVocabularyMixin, SynonymLoss
from mmdet_vild.teacher import OpenCLIPTeacher, TeacherTuner
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl

NAMES = ('cat', 'dog', 'owl')
RESIZE = dict(type='BatchSyncRandomResize', random_size_range=(64, 128))


class Detector(BaseModel):
    """A classifier, and whatever else the hook looks at."""

    def __init__(self, classifier, augment=None, distill_loss='any') -> None:
        preprocessor = DetDataPreprocessor(batch_augments=[augment] if augment else None)
        super().__init__(data_preprocessor=preprocessor)
        self.classifier = classifier
        self.distill_loss = distill_loss

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise AssertionError('the hook came too late')


class Labels(BaseDataset):
    """Images that are lists of labels."""

    def __init__(self, labels=((0, 1), (1,)), classes=NAMES, novel=('owl',), pipeline=()) -> None:
        self.labels, self.seen = labels, []
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

    def get_data_info(self, index: int) -> dict:
        self.seen.append(index)
        return super().get_data_info(index)

    def get_cat_ids(self, index: int) -> list[int]:
        return list(self.labels[index])


@pytest.fixture
def embedding(tmp_path):
    """Config of CLIPCropEmbedding on a store of a teacher, with records of two images."""

    def make(
        teacher='clip@1', embed_dims=4, images=2, dataset=None, segments=False, regions=1, **kwargs
    ) -> dict:
        path = str(tmp_path / f'{teacher}-{embed_dims}-{images}-{segments}-{regions}')
        source = dict(teacher=teacher, embed_dims=embed_dims, segments=segments)
        shard = EmbeddingStore.create(path, source, dataset or {})
        for img_id in range(images):
            n = regions if img_id == 0 else 0
            shapes = (n, 4), n, (n, embed_dims)
            record = EmbeddingRecord(*(np.ones(shape, np.float32) for shape in shapes))
            shard.write([(img_id, record, (10, 10))])
        shard.close()
        return dict(
            type='CLIPCropEmbedding', store=dict(type='EmbeddingStore', path=path), **kwargs
        )

    return make


@pytest.fixture
def classifier(tmp_path):
    path = str(tmp_path / 'text.npz')
    TextEmbeddings(np.eye(3, 4), NAMES, np.array([False, False, True]), 'clip@1').save(path)
    return lambda **kwargs: CLIPTextClassifier(8, 4, path, **kwargs)


@pytest.fixture
def model(classifier):
    return Detector(classifier())


def loop(dataset, *metrics) -> SimpleNamespace:
    dataloader = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(dataloader=dataloader, evaluator=Evaluator(list(metrics)))


def run(stage: str, model, **loops):
    hook = HOOKS.build(dict(type='VocabularyCheckHook'))
    runner = SimpleNamespace(model=model, **{f'{name}_loop': it for name, it in loops.items()})
    getattr(hook, f'before_{stage}')(runner)
    return hook, runner


def train(model, dataset, val=None, *metrics):
    return run('train', model, train=loop(dataset), val=val and loop(val, *metrics))


def test_a_dataset_without_classes(model):
    with pytest.raises(
        ValueError, match='has 0 classes and .* 3 words, and label 0 is None in the'
    ):
        train(model, Labels(classes=None))


def test_passes_what_fits(classifier, embedding):
    text = Detector(classifier(), RESIZE, None)
    train(text, Labels())
    train(text, Labels(novel=None))
    pad = dict(type='BatchFixedSizePad', size=(64, 64))
    train(Detector(classifier(), pad), Labels(pipeline=[embedding()]))
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
        (dict(distill='any'), r'pipeline of Labels \(labels.json\) has no CLIPCropEmbedding'),
        (dict(labels=[[2, 0], [1], [2]]), r"on, has annotations of 1 novel categories: {'owl': 2}"),
    ],
)
def test_stops_what_does_not_fit(classifier, embedding, wrap, arguments, message):
    store, augment, distill, labels = (
        arguments.get(key) for key in ('store', 'augment', 'distill', 'labels')
    )
    options = {k: v for k, v in arguments.items() if k in ('classes', 'novel', 'labels')}
    dataset = Labels(pipeline=[embedding(*store)] if store else [], **options)
    with pytest.raises(ValueError, match=message):
        train(Detector(classifier(), augment, distill), wrap(dataset))


def test_looks_into_transforms(model, embedding):
    def inside(transform: dict) -> dict:
        choice = dict(type='RandomChoice', transforms=[[], [transform]])
        order = dict(type='RandomOrder', transforms=[dict(type='Compose', transforms=[choice])])
        return dict(type='MultiBranch', branch_field=['a'], a=[order])

    train(model, Labels(pipeline=[inside(embedding())]))
    train(model, MultiImageMixDataset(Labels(), [embedding()]))
    for wrong, message in (
        (Labels(pipeline=[inside(embedding('clip@2'))]), 'from the teacher clip@2'),
        (Labels(pipeline=[inside(dict(type='Expand')), embedding()]), 'Expand .* which moves pix'),
        (MultiImageMixDataset(Labels(), [embedding('clip@2')]), 'from the teacher clip@2'),
        # Every part must have it.
        (ConcatDataset([Labels(pipeline=[embedding()]), Labels()]), 'has no CLIPCropEmbedding'),
    ):
        with pytest.raises(ValueError, match=message):
            train(model, wrong)


def test_a_store_must_have_every_image(model, embedding):
    """Before training, not when the image comes up."""
    with pytest.raises(MissingRecordError, match='no record of 1 of the 2 images .* image 1; run'):
        train(model, Labels(pipeline=[embedding(images=1)]))
    train(model, Labels(pipeline=[embedding(images=1, allow_missing=True)]))


def test_a_store_without_a_region(model, embedding):
    """Which an extraction refuses when it ends, but leaves there."""
    for images in (2, 0):
        transform = embedding(images=images, regions=0, allow_missing=True)
        with pytest.raises(ValueError, match=f'none of the {images} images in .* has a region'):
            train(model, Labels(pipeline=[transform]))


def test_a_store_of_pictures_of_another_size(model, embedding, tmp_path):
    """Of some, all over the dataset, before training; one that cannot be read is not the matter."""
    count = 3 * PROBED
    mmcv.imwrite(np.zeros((10, 10, 3), np.uint8), str(tmp_path / 'right.png'))
    mmcv.imwrite(np.zeros((10, 20, 3), np.uint8), str(tmp_path / 'wrong.png'))
    (tmp_path / 'broken.png').write_text('x')
    load = dict(type='LoadImageFromFile')
    for name, number in (('right', 27), ('broken', 27), ('wrong', 28)):
        labels = Labels(labels=((0,),) * count, pipeline=[load, embedding(images=count)])
        info = labels.get_data_info
        names = ['right'] * count
        names[number] = name
        labels.get_data_info = lambda index, info=info, names=names: (
            info(index) | dict(img_path=str(tmp_path / f'{names[index]}.png'))
        )
        train(model, labels)
    names[27] = 'wrong'
    with pytest.raises(ValueError, match=r'image 27 .* \(10, 10\), but here it has \(10, 20\)'):
        train(model, labels)


def test_a_store_of_other_annotations(model, embedding, tmp_path):
    file = tmp_path / 'train.json'
    file.write_text('{}')
    labels = Labels(pipeline=[embedding(dataset=dataset_fingerprint(file))])
    labels.ann_file = str(file)
    train(model, labels)
    file.write_text('{"a": 1}')
    with pytest.raises(ValueError, match='another annotation file than .*train.json: bytes is 2 '):
        train(model, labels)


def test_novel_annotations_may_be_trained_on_purpose(classifier):
    labels = Labels([[2, 0]], novel=None)
    for options in (dict(mask_novel=False), dict(novel_categories=['dog'])):
        train(Detector(classifier(**options), None, None), labels)
    with pytest.raises(ValueError, match="novel categories: {'cat': 1}"):
        train(Detector(classifier(novel_categories=['cat']), None, None), labels)


def test_maps_ignore_what_is_novel(classifier, tmp_path):
    """Of maps nobody knows which classes are in them before they are read."""
    for i in range(3):
        for suffix in ('jpg', 'png'):
            mmcv.imwrite(np.full((4, 4), i % 2, np.uint8), str(tmp_path / f'{i}.{suffix}'))

    def maps(**options):
        options = dict(metainfo=dict(classes=NAMES, novel_classes=('owl',))) | options
        folders = dict(img_path=str(tmp_path), seg_map_path=str(tmp_path))
        return OpenVocabularySegDataset(data_prefix=folders, pipeline=[], **options)

    model = Detector(classifier(), distill_loss=None)
    train(model, maps())
    train(Detector(classifier(mask_novel=False), distill_loss=None), maps(drop_novel=False))
    for seen in (maps(drop_novel=False), maps(metainfo=dict(classes=NAMES))):
        with pytest.raises(ValueError, match="not ignore the pixels of 1 novel .* such as 'owl'"):
            train(model, seen)


def test_datasets_are_gone_through_once(model, embedding, metric):
    """However many metrics and epochs there are, and nothing else reads annotations."""
    dataset, val = Labels(pipeline=[embedding()]), Labels(novel=None)
    hook, runner = train(model, dataset, val, metric('CocoMetric'), metric('LVISMetric'))
    for _ in range(3):
        hook.before_val(runner)
    assert dataset.seen == val.seen == [0, 1]


def test_other_loops(classifier):
    """Validation is checked before training, too."""
    model, other = Detector(classifier(), None, None), Labels(classes=NAMES[::-1])
    loops = dict(train=loop(Labels()), val=loop(other), test=loop(other))
    for stage in ('train', 'val', 'test'):
        with pytest.raises(ValueError, match="label 0 is 'owl'"):
            run(stage, model, **loops)


def annotation_file() -> dict:
    """Annotations of the two images of ``Labels``, as of LVIS and of COCO."""
    absent = dict(neg_category_ids=[], not_exhaustive_category_ids=[])
    images = [dict(id=i, coco_url=f'val/{i}.jpg', file_name=f'{i}.jpg', **absent) for i in (0, 1)]
    categories = [dict(id=i, name=name, frequency='fcr'[i]) for i, name in enumerate(NAMES)]
    return dict(images=images, categories=categories, annotations=[])


def reverse(content: dict) -> None:
    for category, name in zip(content['categories'], NAMES[::-1], strict=True):
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
    labels = Labels()
    for index, info in enumerate(labels.data_list):
        info['img_path'] = str(Path('val', f'{index}.jpg'))
    for kind in kinds:
        right, wrong = metric(kind), metric(kind, change)
        for model in (Detector(classifier(), None, None), torch.nn.Linear(1, 1)):
            train(model, Labels(), labels, right, METRICS.build(dict(type='CocoMetric')))
            with pytest.raises(ValueError, match=message):
                train(model, Labels(), RepeatDataset(labels, 2), right, wrong)
            with pytest.raises(ValueError, match=f'{kind} is not that of Labels .*{message}'):
                run('test', model, test=loop(labels, wrong))


def test_each_dataset_has_a_metric_of_its_own(tmp_path):
    parts, metrics = [Labels(), Labels()], []
    for number, part in enumerate(parts):
        content = annotation_file()
        for image, info in zip(content['images'], part.data_list, strict=True):
            image['id'] = info['img_id'] = f'{number}-{info["img_id"]}'
        path = tmp_path / f'{number}.json'
        path.write_text(json.dumps(content))
        metrics.append(METRICS.build(dict(type='CocoMetric', ann_file=str(path))))
    tested = loop(ConcatDataset(parts), *metrics)
    with pytest.raises(ValueError, match="none in it is image '0-0'"):
        run('test', torch.nn.Linear(1, 1), test=tested)
    tested.evaluator = MultiDatasetsEvaluator(metrics, 'ab')
    run('test', torch.nn.Linear(1, 1), test=tested)


def test_a_metric_of_more_categories_than_are_tested(classifier, metric):
    """As of OV-COCO, which tests 65 of COCO's 80."""
    more = metric('OVCocoMetric', lambda c: c['categories'].insert(1, dict(id=9, name='gnu')))
    train(Detector(classifier(), None, None), Labels(), Labels(), more)


def test_words_of_the_teacher_that_was_tuned_since(embedding, classifier, tmp_path):
    """The regions of the tuned teacher fit words of the raw one; no other mixture does."""
    train(Detector(classifier()), Labels(pipeline=[embedding('clip@1+2')]))
    tuned = str(tmp_path / 'tuned.npz')
    TextEmbeddings(np.eye(3, 4), NAMES, np.array([0, 0, 1], bool), 'clip@1+2').save(tuned)
    of_tuned = Detector(CLIPTextClassifier(8, 4, tuned))
    train(of_tuned, Labels(pipeline=[embedding('clip@1+2', images=3)]))
    with pytest.raises(ValueError, match=r'teacher clip@1 and .*from clip@1\+2 and 4 wide'):
        train(of_tuned, Labels(pipeline=[embedding('clip@1')]))
    with pytest.raises(ValueError, match=r'teacher clip@3\+2 and .*from clip@1 and 4 wide'):
        train(Detector(classifier()), Labels(pipeline=[embedding('clip@3+2')]))


def test_a_detector_whose_words_no_part_has_learned():
    """Nor is such a one tested on data of other categories."""

    class Untaught(OpenVocabularyMixin, Detector):
        text_classifiers = [SimpleNamespace(names=NAMES, novel_names=('owl',))]

    model = Untaught(classifier=None)
    run('test', model, test=loop(Labels()))
    with pytest.raises(ValueError, match='has 2 classes and the text embeddings 3 words'):
        run('test', model, test=loop(Labels([[0]], classes=NAMES[:2])))


def test_a_teacher_that_is_tuned(tmp_path):
    """Its words are the dataset's, and no annotation of a novel one is trained on."""
    torch.manual_seed(0)
    weights, text = tmp_path / 'teacher.pt', tmp_path / 'words.npz'
    torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), weights)
    rows, novel = np.eye(3, 64), np.array([False, False, True])
    TextEmbeddings(rows, NAMES, novel, 'mini-clip').save(str(text))
    teacher = dict(type='OpenCLIPTeacher', model_name='mini-clip', pretrained=str(weights))
    tuner = TeacherTuner(teacher, str(text))
    train(tuner, Labels())
    with pytest.raises(ValueError, match='trained on, has annotations of 1 novel .*owl'):
        train(tuner, Labels([(0, 2)]))
    with pytest.raises(
        ValueError, match='has 3 classes and the text embeddings 3 words, and label'
    ):
        train(tuner, Labels(classes=('dog', 'cat', 'owl')))


@pytest.mark.parametrize(
    'transform',
    [
        dict(type='RandomShift'),
        dict(type='CopyPaste'),
        dict(type='Mosaic'),
        dict(type='RandomAffine'),
        dict(type='SegRescale', scale_factor=0.25),
        dict(type='RandomApply', transforms=[dict(type='RandomShift')]),
    ],
)
def test_segments_are_kept_apart_and_in_place(model, embedding, transform):
    """Nothing that mixes them, or leaves masks behind, comes between their numbers and them."""
    store = embedding(segments=True)['store']
    numbers, attach = dict(type='NumberSegments'), dict(type='SegmentEmbeddings', store=store)
    train(model, Labels(pipeline=[numbers, dict(type='RandomFlip', prob=0.5), attach]))
    kind = 'RandomShift' if transform['type'] == 'RandomApply' else transform['type']
    with pytest.raises(ValueError, match=f'the pipeline has {kind}, which mixes pictures or'):
        train(model, Labels(pipeline=[numbers, transform, attach]))


def test_maps_move_with_the_picture(model, embedding):
    """What needs boxes is for instances, and a map has none yet."""
    store = embedding(segments=True)['store']
    numbers, attach = dict(type='NumberSegments'), dict(type='SegmentEmbeddings', store=store)
    pipeline = [numbers, dict(type='MinIoURandomCrop'), attach]
    train(model, Labels(pipeline=pipeline))
    with pytest.raises(ValueError, match='MinIoURandomCrop, which is for instances, and may not'):
        train(model, Labels(pipeline=[dict(type='LoadSemanticSegmentation'), *pipeline]))


def test_segments_and_synonyms_are_checked(tmp_path, embedding):
    """As regions are: teachers, images; and that names are drawn from those of the loss."""
    words = TextEmbeddings(np.eye(3, 4), NAMES, [False, False, True], 'clip@1')
    paths = []
    for number, cat in enumerate(('kitty', 'feline')):
        synonyms = [['cat', cat], ['dog'], ['owl']]
        rows = np.ones((4, 4), np.float32)
        text = TextEmbeddings(words.embeddings, NAMES, words.novel, 'clip@1', synonyms, (), rows)
        paths.append(str(tmp_path / f'{number}.npz'))
        text.save(paths[-1])
    model = Detector(CLIPTextClassifier(4, 4, paths[0]))
    model.synonym_loss = SynonymLoss(paths[0])
    store = embedding(segments=True)['store']

    def check(path: str | None, store: dict, images: int = 2, drawing: dict | None = None) -> None:
        pipeline = [dict(type='SegmentEmbeddings', store=store)]
        if path:
            pipeline += [dict(type='DrawSynonyms', text_embeddings=path, store=drawing)]
        dataset = Labels([(0, 1), (1,), (0,)][:images], pipeline=pipeline)
        loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
        HOOKS.build(dict(type='VocabularyCheckHook')).before_train(
            SimpleNamespace(model=model, train_loop=loop, val_loop=None)
        )

    check(paths[0], store)
    with pytest.raises(ValueError, match=r"different synonyms, such as \('cat', 'feline'\)"):
        check(paths[1], store)
    with pytest.raises(ValueError, match='both must come from one teacher'):
        check(paths[0], embedding('clip@2', segments=True)['store'])
    with pytest.raises(MissingRecordError, match='no record of 1 of the 3 images'):
        check(paths[0], store, images=3)
    with pytest.raises(ValueError, match='which SegmentEmbeddings reads, has regions, and no'):
        check(paths[0], embedding()['store'])
    check(paths[0], store, drawing=store)
    with pytest.raises(ValueError, match='which DrawSynonyms reads, has regions, and no segments'):
        check(paths[0], store, drawing=embedding()['store'])
    more = embedding(images=3, segments=True)['store']
    with pytest.raises(MissingRecordError, match='no record of 1 of the 3 images'):
        check(paths[0], more, images=3, drawing=store)
    with pytest.raises(ValueError, match=r'has no DrawSynonyms \(found .*SegmentEmbeddings'):
        check(None, store)
    model.synonym_loss.way = 'max'
    check(None, store)
