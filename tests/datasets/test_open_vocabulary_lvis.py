"""LVIS-format data, whose novel categories are the rare ones, or those that the config names."""

import functools
import os
from collections import Counter
from pathlib import Path

import pytest
from annotation_files import CATEGORIES, annotations, build, labels_of
from changed import changed

from mmdet_vild.datasets import OpenVocabularyLVISDataset
from mmdet_vild.vocabulary import load_categories

pytestmark = pytest.mark.onedl

NAMES = tuple(name for _, name, _ in CATEGORIES)


@pytest.fixture
def make(tmp_path):
    return functools.partial(build, tmp_path, 'lvis')


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (['categories', 2, 'frequency'], None, "1 of 4 categories .* 'spoon'; mark novel"),
        (['categories', 2, 'frequency'], 'x', "such as 'spoon'"),
        (['images', 0, 'coco_url'], None, "image 11 of .* lacks the field 'coco_url'"),
        (['categories'], annotations('lvis')['categories'][::-1], 'not in the order of their'),
    ],
)
def test_malformed_files(make, path, value, message):
    with pytest.raises(ValueError, match=message):
        make(changed(annotations('lvis'), path, value))


def test_novel_classes_of_the_config(make):
    """Take the place of the rare ones."""
    metainfo = dict(novel_classes=('spoon',))
    dataset = make(metainfo=metainfo)
    assert dataset.metainfo['novel_classes'] == ('spoon',)
    assert dataset.metainfo['base_classes'] == ('cat', 'unicorn', 'griffin')
    assert labels_of(dataset) == {11: [0, 1], 12: [1, 3], 13: [], 14: [], 15: [0]}
    tested = make(metainfo=metainfo, test_mode=True)
    assert tested.metainfo == dataset.metainfo and labels_of(tested)[13] == [2, 2]


def test_files_without_novel_categories(make):
    data = annotations('lvis', [(i, name, 'f') for i, name, _ in CATEGORIES])
    with pytest.raises(ValueError, match='none of the 4 categories of .* is novel: mark those'):
        make(data)
    for options in (dict(drop_novel=False), dict(test_mode=True)):
        assert make(data, **options).metainfo['novel_classes'] == ()
    assert make(data, metainfo=dict(novel_classes=['cat'])).metainfo['novel_classes'] == ('cat',)


def test_none_is_novel(make):
    """Where metainfo says so, whatever the frequencies."""
    metainfo = dict(novel_classes=())
    with pytest.raises(ValueError, match='none of the 4 categories of .* is novel'):
        make(metainfo=metainfo)
    for options in (dict(drop_novel=False), dict(test_mode=True)):
        dataset = make(metainfo=metainfo, **options)
        assert dataset.metainfo['novel_classes'] == ()
        assert dataset.metainfo['base_classes'] == NAMES


def test_other_classes_are_refused(make):
    with pytest.raises(ValueError, match='metainfo names 2 classes'):
        make(metainfo={'classes': ('cat', 'dog')})
    assert make(metainfo={'classes': NAMES}).metainfo['novel_classes'] == ('unicorn', 'griffin')


#: Of the official annotation files of LVIS v1.
IMAGES = {'train': 100_170, 'val': 19_809}


def official(split: str, **options) -> OpenVocabularyLVISDataset:
    path = str(Path(os.environ['VILD_LVIS_DIR'], 'annotations', f'lvis_v1_{split}.json'))
    options |= dict(data_prefix=dict(img=''), pipeline=[])
    return OpenVocabularyLVISDataset(ann_file=path, **options)


@pytest.mark.dataset
def test_counts_of_the_official_files() -> None:
    dataset = official('val', test_mode=True)
    categories = load_categories(dataset.ann_file)
    assert Counter(category['frequency'] for category in categories) == dict(f=405, c=461, r=337)
    assert dataset.metainfo['classes'] == tuple(category['name'] for category in categories)
    assert len(dataset.metainfo['classes']) == 1203
    assert len(dataset.metainfo['novel_classes']) == 337
    assert len(dataset) == IMAGES['val']


@pytest.mark.dataset
def test_exactly_the_base_categories_are_trained() -> None:
    dataset = official('train')
    assert len(dataset) == IMAGES['train']
    labels = {label for i in range(len(dataset)) for label in dataset.get_cat_ids(i)}
    base = set(dataset.metainfo['classes']) - set(dataset.metainfo['novel_classes'])
    assert {dataset.metainfo['classes'][label] for label in labels} == base
    assert len(base) == 866
