"""Names and files of semantic segmentation, and what is refused at the start."""

import json
import pickle
import re

import numpy as np
import pytest
from label_pictures import blocks, write_numbers, write_picture
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from mmdet_vild.datasets import OpenVocabularySegDataset

pytestmark = pytest.mark.onedl

CLASSES = ('wall', 'road, route', 'cat', 'tree')
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSemanticSegmentation'),
    dict(type='PackDetInputs'),
]


@pytest.fixture
def root(tmp_path):
    """Two pictures in a folder, each with all four classes and ignored pixels."""
    for i, name in enumerate(['a', 'street/b']):
        write_picture(tmp_path / f'img/{name}.jpg', seed=i)
        write_numbers(tmp_path / f'ann/{name}.png', blocks([0, 1, 2, 3, 255]))
    return tmp_path


def build(root, **options) -> OpenVocabularySegDataset:
    defaults = dict(
        type='OpenVocabularySegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        pipeline=PIPELINE,
    )
    if 'vocabulary' not in options:
        defaults['metainfo'] = dict(classes=CLASSES)
    return DATASETS.build(defaults | options)


def labels(dataset, index: int = 0) -> np.ndarray:
    return dataset[index]['data_samples'].gt_sem_seg.sem_seg.numpy()[0]


def test_all_pictures_of_a_folder(root):
    dataset = build(root)
    assert len(dataset) == 2 and dataset.metainfo['classes'] == CLASSES
    assert 'novel_classes' not in dataset.metainfo
    assert [dataset.get_data_info(i)['img_id'] for i in range(2)] == [0, 1]
    assert dataset.get_data_info(1)['seg_map_path'].endswith('ann/street/b.png')
    np.testing.assert_array_equal(labels(dataset), blocks([0, 1, 2, 3, 255], dtype=int))
    assert len(pickle.loads(pickle.dumps(dataset))) == 2


def test_lists_of_names(root):
    (root / 'one.txt').write_text('street/b\n\n')
    dataset = build(root, ann_file='one.txt')
    assert len(dataset) == 1 and dataset.get_data_info(0)['img_path'].endswith('img/street/b.jpg')
    write_numbers(root / 'ann/other.png', blocks([3]))
    (root / 'two.txt').write_text('street/b\tother\r\na\ta\n')
    dataset = build(root, ann_file='two.txt')
    assert (labels(dataset) == 3).all() and dataset.get_data_info(1)['img_path'].endswith('a.jpg')
    (root / 'three.txt').write_text('a\ta\nstreet/b\tother\t1\n')
    with pytest.raises(ValueError, match=r"three.txt has .* names, \['street/b', 'other', '1'\]"):
        build(root, ann_file='three.txt')


def test_numbers_of_classes_and_what_is_ignored(root):
    dataset = build(
        root,
        metainfo=dict(classes=('cat', 'wall')),
        label_values=[2, 0],
        ignored_values=[1, 3, 255],
    )
    expected = blocks([1, 255, 0, 255, 255], dtype=int)
    np.testing.assert_array_equal(labels(dataset), expected)


def test_novel_classes_are_ignored_in_training_alone(root):
    options = dict(metainfo=dict(classes=CLASSES, novel_classes=['cat', 'road, route']))
    dataset = build(root, **options)
    assert dataset.metainfo['novel_classes'] == ('cat', 'road, route')
    assert dataset.metainfo['base_classes'] == ('wall', 'tree')
    np.testing.assert_array_equal(labels(dataset), blocks([0, 255, 255, 3, 255], dtype=int))
    for kept in (dict(test_mode=True), dict(drop_novel=False)):
        whole = blocks([0, 1, 2, 3, 255], dtype=int)
        np.testing.assert_array_equal(labels(build(root, **options, **kept)), whole)


def test_classes_of_a_vocabulary(root):
    path = root / 'words.json'
    words = [dict(name=n, frequency='r' if n == 'cat' else 'f') for n in CLASSES]
    path.write_text(json.dumps(words))
    dataset = build(root, vocabulary=str(path))
    assert dataset.metainfo['classes'] == CLASSES and dataset.metainfo['novel_classes'] == ('cat',)
    dataset = build(root, vocabulary='VOCDataset', label_values=[*range(20)])
    assert len(dataset.metainfo['classes']) == 20 and 'novel_classes' not in dataset.metainfo


def test_novel_is_what_another_vocabulary_does_not_have(root):
    """By any of its synonyms, as tools/encode_vocabulary.py --base says."""
    (root / 'base.txt').write_text('route\ncats\n')
    dataset = build(root, base_vocabulary=str(root / 'base.txt'), test_mode=True)
    assert dataset.metainfo['novel_classes'] == ('wall', 'tree')
    coco = build(root, base_vocabulary='CocoPanoptic133Dataset', test_mode=True)
    assert coco.metainfo['novel_classes'] == ()
    assert coco.metainfo['base_classes'] == CLASSES


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(metainfo=None), 'does not know what its classes are called, found None'),
        (dict(metainfo=dict(classes='wall')), "called, found 'wall'; name a vocabulary"),
        (dict(metainfo=dict(classes=('cat', 'Cat', 'a', 'b'))), 'more than once'),
        (dict(metainfo=dict(classes=CLASSES, novel_classes=['dog'])), r"none of .*: \['dog'\]"),
        (dict(metainfo=dict(classes=CLASSES, novel_classes=CLASSES)), 'all 4 classes .* are novel'),
        (
            dict(metainfo=dict(classes=CLASSES, novel_clases=())),
            r"has \['novel_clases'\]",
        ),
        (
            dict(metainfo=dict(classes=CLASSES, unseen=())),
            r"\['unseen'\], .* write .'novel_classes'",
        ),
        (
            dict(metainfo=dict(classes=CLASSES, novel_classes=['cat'], base_classes=['wall'])),
            r"the base_classes \['wall'\], but they are all that are not novel: .*'tree'",
        ),
        (dict(metainfo=dict(classes=CLASSES, base_classes=['wall'])), "the base_classes .'wall'"),
        (dict(label_values=()), 'has 4 classes and 0 label_values; it needs one a class'),
        (dict(filter_cfg=dict(filter_empty_gt=True)), r"\['filter_cfg'\] of .* say nothing here"),
        (dict(label_values=[0, 1]), 'has 4 classes and 2 label_values'),
        (dict(label_values='0123'), 'label_values of OpenVocabularySegDataset must be a list of'),
        (dict(data_prefix=dict(img_path='img')), 'name two folders inside data_root'),
        (dict(img_suffix='.bmp'), 'img names no picture that ends with .bmp'),
        (
            dict(base_vocabulary='VOCDataset', metainfo=dict(classes=CLASSES, novel_classes=())),
            'got a base_vocabulary, VOCDataset, and novel classes',
        ),
    ],
)
def test_refuses(root, options, message):
    with pytest.raises(ValueError, match=message):
        build(root, **options)


def test_metainfo_of_another_dataset(root):
    """Has the base classes, too."""
    given = build(root, metainfo=dict(classes=CLASSES, novel_classes=['cat'])).metainfo
    assert build(root, metainfo=given).metainfo == given


@pytest.fixture
def heard(caplog):
    """Warnings, each as often as it was said."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelname == 'WARNING']
    logger.removeHandler(caplog.handler)


def binary(root, *columns, count=40) -> None:
    """As many label files of two classes; the columns of the first, last and middle ones differ."""
    for i in range(count):
        write_picture(root / f'two/{i:03d}.jpg', (24, 32))
        write_numbers(root / f'masks/{i:03d}.png', blocks(columns[i % len(columns)]))


TWO = dict(
    metainfo=dict(classes=('background', 'cat')),
    data_prefix=dict(img_path='two', seg_map_path='masks'),
)


@pytest.mark.parametrize(
    ('columns', 'options', 'share'),
    [
        ([[0, 255]], {}, '50%'),
        ([[0, 0, 0, 255]], {}, '25%'),
        ([[255]], {}, '100%'),
        ([[255]], dict(metainfo=dict(classes=CLASSES)), '100%'),
        ([[0, 255]], dict(label_values=[0, 255], ignored_values=[]), None),
        ([[0, 1, 255]], {}, None),
        ([[0, 255], [0, 0, 0, 255], [0, 1]], {}, None),  # a cat in other files than the three
        ([[0]], {}, None),
        ([[255, 0]], dict(metainfo=dict(classes=CLASSES)), None),
        ([[0, 1, 255]], dict(metainfo=dict(TWO['metainfo'], novel_classes=['cat'])), None),
    ],
)
def test_classes_that_are_ignored_by_mistake(root, heard, columns, options, share):
    """As in masks of 0 and 255: a warning, if none of some files has another class."""
    binary(root, *columns, count=40)
    build(root, **(TWO | options))
    if not share:
        assert not heard()
        return
    (warning,) = heard()
    names = (options.get('metainfo') or TWO['metainfo'])['classes'][int(share != '100%') :]
    assert warning.startswith(f'{share} of the pixels of 21 label files of ')
    assert f'none is of the classes {list(names)}; if what is ignored' in warning


def test_pictures_of_other_suffixes(root, heard):
    write_picture(root / 'img/1.JPEG')
    write_picture(root / 'img/street/2.jpeg')
    (root / 'img/notes.txt').write_text('no picture')
    assert len(build(root)) == 2
    (warning,) = heard()
    assert warning.startswith('2 of 4 pictures in ') and 'do not end with .jpg and' in warning
    assert 'such as 1.JPEG; rename them, or set img_suffix' in warning


def test_label_files_beside_pictures(root, heard):
    for name in ('a', 'street/b'):
        (root / f'img/{name}.png').write_bytes((root / f'ann/{name}.png').read_bytes())
    for prefix in (dict(img_path='img', seg_map_path='img'), dict(img_path='', seg_map_path='')):
        build(root, data_prefix=prefix, **({} if prefix['img_path'] else dict(lazy_init=True)))
    assert not heard()


def test_lists_of_editors(root, heard):
    """Begin with a mark, and have a picture twice."""
    (root / 'one.txt').write_text('a\nstreet/b\n', encoding='utf-8-sig')
    assert len(build(root, ann_file='one.txt')) == 2 and not heard()
    (root / 'one.txt').write_text('a\nstreet/b\na\n./a\n')
    assert len(build(root, ann_file='one.txt')) == 4
    (warning,) = heard()
    assert warning.startswith('2 of 4 lines of ') and 'img/a.jpg is in 3' in warning


def test_refuses_two_lists_of_names(root):
    with pytest.raises(ValueError, match='got a vocabulary, VOCDataset, and the classes'):
        build(root, vocabulary='VOCDataset', metainfo=dict(classes=CLASSES))


@pytest.mark.parametrize(
    'options', [dict(ann_file='no.txt'), dict(data_prefix=dict(img_path='no', seg_map_path='ann'))]
)
def test_missing_lists_and_folders(root, options):
    with pytest.raises(FileNotFoundError, match='there is neither list nor folder at .*no'):
        build(root, **options)


def test_files_are_looked_at_before_anything_runs(root):
    """Of another set, of 8 bits, of another picture, or missing: when the data set is built."""
    many = dict(metainfo=dict(classes=tuple(f'class {i}' for i in range(300))))
    with pytest.raises(ValueError, match='8 bits a pixel, too few for the numbers of 300'):
        build(root, **many)
    with pytest.raises(ValueError, match=r'numbers \[3\], which are neither one of the 3 classes'):
        build(root, metainfo=dict(classes=CLASSES[:3]))
    build(root, metainfo=dict(classes=CLASSES[:3]), lazy_init=True)
    write_numbers(root / 'ann/street/b.png', blocks([0], (20, 32)))
    with pytest.raises(ValueError, match=re.escape('b.png has 32x20 pixels, but its picture')):
        build(root)
    (root / 'ann/street/b.png').unlink()
    with pytest.raises(FileNotFoundError, match='there is no file at .*b.png; check data_root'):
        build(root)
