"""LVIS-format data, whose novel categories are the rare ones, or those that the config names."""

import functools

import pytest
from annotation_files import CATEGORIES, annotations, build, labels_of
from changed import changed

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


def test_other_classes_are_refused(make):
    with pytest.raises(ValueError, match='metainfo names 2 classes'):
        make(metainfo={'classes': ('cat', 'dog')})
    assert make(metainfo={'classes': NAMES}).metainfo['novel_classes'] == ('unicorn', 'griffin')
