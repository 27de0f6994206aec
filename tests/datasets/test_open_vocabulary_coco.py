"""COCO-format data with novel categories named in the config, and OV-COCO."""

import json

import pytest
from changed import changed
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import DATASETS

from mmdet_vild.datasets import OpenVocabularyCocoDataset, OVCocoDataset

pytestmark = pytest.mark.onedl

#: In an order that is not that of the ids, as a file may have them.
CATEGORIES = [(7, 'cat'), (3, 'unicorn'), (20, 'spoon'), (21, 'griffin'), (22, 'rock')]
#: Categories of the boxes in each image.
IMAGES = {11: [7, 3, 20], 12: [3, 21], 13: [20, 20], 14: [], 15: [22]}
METAINFO = dict(
    classes=('cat', 'unicorn', 'spoon', 'griffin'), novel_classes=('griffin', 'unicorn')
)
PIPELINE = [LoadAnnotations(with_bbox=True, with_mask=True)]


def annotations(categories=CATEGORIES, images=IMAGES):
    """A COCO annotation file."""
    boxes = [
        (image, category, i) for image, found in images.items() for i, category in enumerate(found)
    ]
    return dict(
        images=[dict(id=i, file_name=f'{i}.jpg', height=40, width=60) for i in images],
        annotations=[
            dict(
                id=number,
                image_id=image,
                category_id=category,
                bbox=[5 + 15 * i, 4 + i, 12, 20],
                area=240,
                iscrowd=0,
                segmentation=[[5, 4, 17, 4, 17, 24]],
            )
            for number, (image, category, i) in enumerate(boxes, 1)
        ],
        categories=[dict(id=i, name=name, supercategory='') for i, name in categories],
    )


@pytest.fixture
def build(tmp_path):
    def build(data=None, kind=OpenVocabularyCocoDataset, **kwargs):
        path = tmp_path / 'coco.json'
        path.write_text(data if isinstance(data, str) else json.dumps(data or annotations()))
        options = {
            'pipeline': PIPELINE,
            'metainfo': METAINFO,
            'data_prefix': {'img': ''},
            **kwargs,
        }
        return kind(ann_file=str(path), **options)

    return build


def labels_of(dataset):
    return {
        info['img_id']: [instance['bbox_label'] for instance in info['instances']]
        for info in map(dataset.get_data_info, range(len(dataset)))
    }


def test_novel_annotations_do_not_reach_training(build):
    dataset = build()
    assert labels_of(dataset) == {11: [0, 2], 12: [], 13: [2, 2], 14: [], 15: []}
    assert dataset.metainfo['novel_classes'] == ('griffin', 'unicorn')
    assert dataset.metainfo['base_classes'] == ('cat', 'spoon')
    config = {'filter_empty_gt': True, 'min_size': 32}
    assert set(labels_of(build(filter_cfg=config))) == {11, 13}


@pytest.mark.parametrize('options', [{'drop_novel': False}, {'test_mode': True}])
def test_novel_annotations_stay_on_request_and_in_tests(build, options):
    """Labels are those of mmdet's own dataset."""
    dataset = build(**options)
    assert labels_of(dataset) == {11: [0, 1, 2], 12: [1, 3], 13: [2, 2], 14: [], 15: []}
    assert labels_of(dataset) == labels_of(build(kind=CocoDataset))


def test_images_without_any_of_the_classes_can_be_left_out_of_a_test(build):
    config = {'filter_empty_gt': True}
    assert set(labels_of(build(test_mode=True))) == set(IMAGES)
    assert set(labels_of(build(test_mode=True, filter_cfg=config))) == {11, 12, 13}
    with pytest.raises(ValueError, match='no image of .* is left'):
        build(annotations(images={14: []}), test_mode=True, filter_cfg=config)


def test_images_of_unusable_boxes_are_empty(build):
    data, config = annotations(), {'filter_empty_gt': True}
    for annotation in data['annotations']:
        if annotation['image_id'] != 13:
            annotation['bbox'][3] = 0
    for test_mode in (False, True):
        assert set(labels_of(build(data, filter_cfg=config, test_mode=test_mode))) == {13}
        assert set(labels_of(build(data, test_mode=test_mode))) == set(IMAGES)


def test_classes_may_be_left_to_the_file(build):
    found = build(metainfo=dict(novel_classes=('unicorn',))).metainfo
    assert found['classes'] == ('cat', 'unicorn', 'spoon', 'griffin', 'rock')
    assert found['base_classes'] == ('cat', 'spoon', 'griffin', 'rock')
    assert OpenVocabularyCocoDataset.METAINFO['classes'] == ()


def test_from_a_config(build):
    path = build().ann_file
    config = dict(
        type='OpenVocabularyCocoDataset',
        ann_file=path,
        metainfo=METAINFO,
        data_prefix=dict(img=''),
        pipeline=[],
    )
    assert labels_of(DATASETS.build(config))[11] == [0, 2]


@pytest.mark.parametrize(
    ('metainfo', 'message'),
    [
        (dict(classes=('cat', 'dog', 'owl')), r"does not have 2 of the 3 .*: \['dog', 'owl'\]"),
        (
            dict(classes=('unicorn', 'cat')),
            "another order than .*, where number 0 is 'cat', not 'unicorn'; mmdet counts labels",
        ),
        (dict(novel_classes=()), 'names no novel_classes among the 5 classes of'),
        (dict(novel_classes='cat'), r"found the text 'cat'; write novel_classes=\('cat',\)"),
        (dict(novel_classes=('dragon',)), r"are none of .*'s 5 classes: \['dragon'\]"),
        (
            dict(classes=('cat', 'unicorn'), novel_classes=('griffin',)),
            r"are none of .*'s 2 classes: \['griffin'\]",
        ),
    ],
)
def test_metainfo_that_does_not_fit(build, metainfo, message):
    with pytest.raises(ValueError, match=message):
        build(metainfo=metainfo)


def change(path, value=None):
    return changed(annotations(), path, value)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (change(['images', 0, 'file_name']), "lacks the field 'file_name'. It needs images"),
        (change(['annotations', 0, 'bbox']), "lacks the field 'bbox'. It needs images"),
        (change(['annotations', 0, 'segmentation']), 'annotation 1 .* has no segmentation'),
        (change(['annotations', 1, 'id'], 1), 'cannot be read .*not unique'),
        (change(['images'], []), 'has no images'),
        (change(['categories', 3, 'name'], 'cat'), r"more than once: \['cat'\]"),
        ('[1, 2]', 'cannot be read .* It needs images'),
        ('{"images": ', 'not valid JSON'),
    ],
)
def test_malformed_files(build, data, message):
    with pytest.raises(ValueError, match=message):
        build(data)


def test_masks_of_unused_categories_are_of_no_concern(build):
    *_, rock = annotations()['annotations']
    data = change(['annotations', rock['id'] - 1, 'segmentation'])
    assert labels_of(build(data))[15] == []


def test_missing_file():
    with pytest.raises(FileNotFoundError, match='no annotation file at nowhere.json'):
        OVCocoDataset(ann_file='nowhere.json', data_prefix={'img': ''})


def test_missing_data_prefix(build):
    with pytest.raises(ValueError, match=r"no 'img'; name .* data_prefix=dict\(img='train2017/'\)"):
        build(data_prefix={'img_path': ''})


def test_ov_coco():
    """Names of COCO's categories in COCO's order, 17 of them novel."""
    coco = CocoDataset.METAINFO['classes']
    classes, novel = (OVCocoDataset.METAINFO[key] for key in ('classes', 'novel_classes'))
    assert len(set(classes)) == 65 and len(set(novel)) == 17 and set(novel) < set(classes)
    assert [name for name in coco if name in classes] == list(classes)


def test_ov_coco_ignores_the_other_categories_of_coco(build):
    """On a file with COCO's 80 categories and one object of each, in an image of its own."""
    names = CocoDataset.METAINFO['classes']
    categories = [(10 + i, name) for i, name in enumerate(names)]
    data = annotations(categories, {100 + i: [10 + i] for i in range(80)})
    train = build(data, OVCocoDataset, metainfo={}, filter_cfg={'filter_empty_gt': True})
    assert len(train) == len(train.metainfo['base_classes']) == 48
    found = [train.metainfo['classes'][labels[0]] for labels in labels_of(train).values()]
    assert tuple(found) == train.metainfo['base_classes']
    config = {'filter_empty_gt': True}
    assert len(build(data, OVCocoDataset, metainfo={}, test_mode=True, filter_cfg=config)) == 65
