"""COCO-format data with novel categories named in the config, and OV-COCO."""

import functools

import pytest
from annotation_files import annotations, build, labels_of
from changed import changed
from mmdet.datasets import CocoDataset

from mmdet_vild.datasets import OVCocoDataset

pytestmark = pytest.mark.onedl

#: In an order that is not that of the ids, as a file may have them.
CATEGORIES = [(7, 'cat', ''), (3, 'unicorn', ''), (20, 'spoon', ''), (22, 'rock', '')]
CLASSES = ('cat', 'unicorn', 'spoon')


@pytest.fixture
def make(tmp_path):
    return functools.partial(build, tmp_path, 'coco')


@pytest.fixture
def data():
    return annotations('coco', CATEGORIES, {11: [7, 3, 20], 12: [3], 15: [22]})


@pytest.mark.parametrize('classes', [CLASSES, ('cat', 'unicorn', 'spoon', 'rock'), ()])
def test_classes_are_some_of_the_file(make, data, classes):
    """Or all; labels are those of mmdet's own dataset."""
    names = classes or ('cat', 'unicorn', 'spoon', 'rock')
    metainfo = dict(classes=classes, novel_classes=('unicorn',))
    dataset = make(data, metainfo=metainfo)
    assert dataset.metainfo['classes'] == names
    assert dataset.metainfo['base_classes'] == tuple(n for n in names if n != 'unicorn')
    assert labels_of(dataset)[11] == [0, 2]
    every = make(data, metainfo=metainfo, test_mode=True)
    stock = make(data, cls=CocoDataset, metainfo=dict(classes=names))
    assert labels_of(every) == labels_of(stock)


def test_images_without_any_of_the_classes_can_be_left_out_of_a_test(make, data):
    metainfo = dict(classes=CLASSES, novel_classes=('unicorn',))
    config = dict(test_mode=True, metainfo=metainfo, filter_cfg={'filter_empty_gt': True})
    assert set(labels_of(make(data, **config))) == {11, 12}


@pytest.mark.parametrize(
    ('metainfo', 'message'),
    [
        (dict(classes=('cat', 'dog', 'owl')), r"does not have 2 of the 3 .*: \['dog', 'owl'\]"),
        (
            dict(classes=('unicorn', 'cat')),
            "another order than .*, where number 0 is 'cat', not 'unicorn'; mmdet counts labels",
        ),
        (
            dict(classes=('cat', 'unicorn', 'spoon', 'spoon')),
            r"classes of metainfo .*once: .'spoon'",
        ),
        (dict(novel_classes=()), 'names no novel_classes among the 4 classes of'),
        (dict(classes=('cat', 'spoon'), novel_classes=('rock',)), r"'s 2 classes: \['rock'\]"),
    ],
)
def test_metainfo_that_does_not_fit(make, data, metainfo, message):
    with pytest.raises(ValueError, match=message):
        make(data, metainfo=metainfo)


def test_masks_of_unused_categories_are_of_no_concern(make, data):
    data = changed(data, ['annotations', 4, 'segmentation'])
    metainfo = dict(classes=CLASSES, novel_classes=('unicorn',))
    assert labels_of(make(data, metainfo=metainfo))[15] == []


def test_ov_coco():
    """Names of COCO's categories in COCO's order, 17 of them novel."""
    coco = CocoDataset.METAINFO['classes']
    classes, novel = (OVCocoDataset.METAINFO[key] for key in ('classes', 'novel_classes'))
    assert len(set(classes)) == 65 and len(set(novel)) == 17 and set(novel) < set(classes)
    assert [name for name in coco if name in classes] == list(classes)


def test_ov_coco_ignores_the_other_categories_of_coco(make):
    """On a file with COCO's 80 categories and one object of each, in an image of its own."""
    names = CocoDataset.METAINFO['classes']
    categories = [(10 + i, name, '') for i, name in enumerate(names)]
    data = annotations('coco', categories, {100 + i: [10 + i] for i in range(80)})
    config = dict(metainfo={}, filter_cfg={'filter_empty_gt': True})
    train = make(data, OVCocoDataset, **config)
    assert len(train) == len(train.metainfo['base_classes']) == 48
    found = [train.metainfo['classes'][labels[0]] for labels in labels_of(train).values()]
    assert tuple(found) == train.metainfo['base_classes']
    assert len(make(data, OVCocoDataset, test_mode=True, **config)) == 65
