"""COCO's panoptic format, as its official files have it, without panopticapi."""

import json

import numpy as np
import pytest
from changed import changed
from label_pictures import blocks, colors_of, write_numbers, write_picture
from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger

from mmdet_vild.datasets import CocoPanoptic133Dataset

pytestmark = pytest.mark.onedl

NAN = float('nan')

#: Ids and names as in COCO: of things and stuff, with gaps.
CATEGORIES = [
    dict(id=1, name='person', isthing=1, supercategory='person', color=[220, 20, 60]),
    dict(id=17, name='cat', isthing=1, supercategory='animal', color=[255, 0, 0]),
    dict(id=118, name='floor-wood', isthing=0, supercategory='floor', color=[2, 3, 4]),
    dict(id=199, name='wall-other-merged', isthing=0, supercategory='wall', color=[1, 2, 3]),
]
CLASSES = ('person', 'cat', 'floor wood', 'wall')
#: Id of a segment -> category and whether it is a crowd, in columns of the picture.
SEGMENTS = {8345037: (17, 0), 300: (1, 1), 7: (199, 0), 65536: (17, 0), 12: (118, 0)}
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadSemanticSegmentation'),
    dict(type='PackDetInputs'),
]
COLUMNS = [*SEGMENTS, 0]


@pytest.fixture
def root(tmp_path):
    """Two pictures; in the second, there is only a wall."""
    annotations = []
    for image_id, shown in ((9, SEGMENTS), (25, {7: (199, 0)})):
        write_picture(tmp_path / f'img/{image_id:012d}.jpg')
        ids = blocks([*shown, 0], dtype=np.int64)
        write_numbers(tmp_path / f'png/{image_id:012d}.png', colors_of(ids))
        segments = [
            dict(id=i, category_id=category, iscrowd=crowd, bbox=[0, 0, 4, 24], area=96)
            for i, (category, crowd) in shown.items()
        ]
        file_name = f'{image_id:012d}.png'
        annotations.append(dict(image_id=image_id, file_name=file_name, segments_info=segments))
    images = [
        dict(id=i, file_name=f'{i:012d}.jpg', height=24, width=32, coco_url='') for i in (25, 9)
    ]
    content = dict(info={}, images=images, annotations=annotations, categories=CATEGORIES)
    (tmp_path / 'panoptic.json').write_text(json.dumps(content))
    return tmp_path


def change(root, **content) -> None:
    path = root / 'panoptic.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | content))


def build(root, **options):
    return DATASETS.build(
        dict(
            type='OpenVocabularyPanopticDataset',
            metainfo=dict(classes=CLASSES),
            data_root=str(root),
            ann_file='panoptic.json',
            data_prefix=dict(img_path='img', seg_map_path='png'),
            pipeline=PIPELINE,
        )
        | options
    )


def labels(dataset, index: int = 0) -> np.ndarray:
    return dataset[index]['data_samples'].gt_sem_seg.sem_seg.numpy()[0]


def test_segments_and_labels_of_pixels(root):
    dataset = build(root)
    info = dataset.get_data_info(0)
    assert [dataset.get_data_info(i)['img_id'] for i in range(2)] == [9, 25]
    assert info['img_path'].endswith('000000000009.jpg')
    assert info['seg_map_path'].endswith('png/000000000009.png')
    assert (info['height'], info['width']) == (24, 32) and info['ignored_segments'] == []
    assert info['segments_info'] == [
        dict(id=8345037, category=1, is_thing=True, iscrowd=False),
        dict(id=300, category=0, is_thing=True, iscrowd=True),
        dict(id=7, category=3, is_thing=False, iscrowd=False),
        dict(id=65536, category=1, is_thing=True, iscrowd=False),
        dict(id=12, category=2, is_thing=False, iscrowd=False),
    ]
    np.testing.assert_array_equal(labels(dataset), blocks([1, 0, 3, 1, 2, 255], dtype=int))
    loaded = dataset.pipeline.transforms[1](info | dict(ori_shape=(24, 32)))
    np.testing.assert_array_equal(loaded['gt_segment_ids'], blocks(COLUMNS, dtype=int))


def test_labels_are_those_of_mmdets_reader(root):
    """Which cannot read the PNG without panopticapi, but says which segment is what."""
    stock = CocoPanopticDataset(
        ann_file='panoptic.json',
        data_root=str(root),
        data_prefix=dict(img='img', seg='png'),
        metainfo=dict(classes=tuple(category['name'] for category in CATEGORIES)),
        filter_cfg=None,
    )
    own = build(root)
    theirs = {stock.get_data_info(i)['img_id']: stock.get_data_info(i) for i in range(2)}
    for index in range(2):
        info = own.get_data_info(index)
        expected = {s['id']: s['category'] for s in theirs[info['img_id']]['segments_info']}
        assert {s['id']: s['category'] for s in info['segments_info']} == expected


def test_novel_segments_are_ignored_in_training(root):
    options = dict(metainfo=dict(classes=CLASSES, novel_classes=('cat',)))
    dataset = build(root, **options)
    info = dataset.get_data_info(0)
    assert [s['id'] for s in info['segments_info']] == [300, 7, 12]
    assert info['ignored_segments'] == [8345037, 65536]
    np.testing.assert_array_equal(labels(dataset), blocks([255, 0, 3, 255, 2, 255], dtype=int))
    tested = build(root, **options, test_mode=True)
    np.testing.assert_array_equal(labels(tested), blocks([1, 0, 3, 1, 2, 255], dtype=int))


def test_a_part_of_the_categories(root):
    dataset = build(root, metainfo=dict(classes=('wall', 'cat')))
    np.testing.assert_array_equal(labels(dataset), blocks([1, 255, 0, 1, 255, 255], dtype=int))


def test_the_file_is_its_own_vocabulary(root):
    dataset = build(root, metainfo=None, vocabulary=str(root / 'panoptic.json'))
    assert dataset.metainfo['classes'][2:] == ('floor-wood', 'wall-other-merged')
    np.testing.assert_array_equal(labels(dataset), blocks([1, 0, 3, 1, 2, 255], dtype=int))


def test_coco_has_133_plain_names():
    classes = CocoPanoptic133Dataset.METAINFO['classes']
    assert len(set(classes)) == 133 and classes[79:82] == ('toothbrush', 'banner', 'blanket')
    assert {'wall', 'sky', 'window blind', 'door stuff'} <= set(classes)
    assert not any('-' in name for name in classes)


def test_files_of_another_version_are_refused_at_the_start(root):
    ids = blocks([7, 99], dtype=np.int64)
    write_numbers(root / 'png/000000000009.png', colors_of(ids))
    with pytest.raises(ValueError, match='9.png has 384 of 768 pixels of segments .* such as 99'):
        build(root)
    write_numbers(root / 'png/000000000009.png', blocks([7]))
    with pytest.raises(ValueError, match='9.png is no panoptic PNG'):
        build(root)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(annotations=[]), 'panoptic.json has no annotations'),
        (dict(images=[]), "not in COCO's panoptic format .* image_id 9; expected one of the ids"),
        (dict(annotations=3), "not in COCO's panoptic format"),
        (
            dict(categories=[CATEGORIES[0] | dict(name='people'), *CATEGORIES[1:]]),
            r"does not have 1 of the 4 classes .*: \['person'\]",
        ),
        (dict(annotations=[dict(image_id=9, file_name='9.png')]), 'panoptic format'),
    ],
)
def test_refuses(root, content, message):
    change(root, **content)
    with pytest.raises(ValueError, match=message):
        build(root)


def a(row, key):
    return ['annotations', row, key]


def a_segment(row, key):
    return ['annotations', 0, 'segments_info', row, key]


@pytest.mark.parametrize(
    ('path', 'values'),
    [
        (a_segment(1, 'iscrowd'), ['0', [0], 2]),
        (a_segment(1, 'category_id'), ['1', 99, [1], NAN]),
        (a_segment(1, 'id'), ['300', 2.5, -1, 2**24, 10**30, NAN]),
        (a(1, 'image_id'), ['25', 4, NAN, [25]]),
        (a(1, 'file_name'), [7, '', 'a\0b']),
        (a(1, 'segments_info'), [{}, 'text', [3]]),
        (['images', 1, 'height'], ['8', 0, NAN]),
        (['images', 1, 'width'], [[32], -1]),
        (['images', 1, 'file_name'], [7, '']),
        (['categories', 1, 'id'], ['17', 17.0, 10**19]),
        (['categories', 1, 'isthing'], ['0', 2, [0]]),
        (['categories', 1, 'name'], [7, ['cat']]),
    ],
)
def test_plainly_wrong(root, path, values):
    """Names the file, the entry and the field; or it is not there."""
    content, key = json.loads((root / 'panoptic.json').read_text()), path[-1]
    kind = 'segment 300 of image 9' if 'segments_info' in path[:-1] else path[0][:3]
    if key == 'id' and path[0] == 'annotations':
        kind = 'segment .* of image 9'
    for value in values:
        change(root, **changed(content, path, value))
        with pytest.raises(
            ValueError, match=f'{kind}.* of .*panoptic.json has the {key}.*expected'
        ):
            build(root)
    if key == 'iscrowd':
        return
    change(root, **changed(content, path))
    with pytest.raises(ValueError, match=f"{kind}.* lacks the field '{key}'"):
        build(root)


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (['images', 0, 'id'], 9, r'has 2 images of the id 9, \[.*25.jpg.*9.jpg.\]; give each'),
        (['categories', 1, 'id'], 1, r"has 2 categories of the id 1, \['person', 'cat'\]"),
        (a(1, 'image_id'), 9, 'has 2 annotations of image 9 of .*; put the segments of both into'),
        (a_segment(2, 'id'), 300, 'segment 300 of image 9 of .* is there twice; give each'),
    ],
)
def test_twice(root, path, value, message):
    change(root, **changed(json.loads((root / 'panoptic.json').read_text()), path, value))
    with pytest.raises(ValueError, match=message):
        build(root)


def test_what_may_be_meant(root, caplog):
    """Is one warning, beside a table of what becomes of segments."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.handler.setLevel('INFO')
    options = dict(metainfo=dict(classes=CLASSES, novel_classes=('cat',)))
    try:
        build(root, **options)
        rows = dict(line.strip().split('  ')[::-1] for line in caplog.messages[0].split('\n')[1:])
        assert {key: int(value) for key, value in rows.items()} == {
            'images': 2, 'annotations': 2, 'segments': 6, 'dropped: of 1 novel classes': 2,
            'crowd, not learned': 1, 'used': 3,
        }  # fmt: skip
        assert "1 of the 4 classes have no segment, or crowds alone: ['person']" in caplog.text
        caplog.clear()
        content = json.loads((root / 'panoptic.json').read_text())
        change(root, annotations=content['annotations'][:1])
        assert len(build(root, **options, test_mode=True)) == 1
        assert '- 1 of 2 images have no annotation and are left out; the first is image 25' in (
            caplog.text
        )
        assert 'have no segment' not in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


def test_what_is_no_json(root):
    (root / 'panoptic.json').write_text('{')
    with pytest.raises(ValueError, match="panoptic.json is not in COCO's panoptic format"):
        build(root)
    with pytest.raises(FileNotFoundError, match='there is no annotation file at .*none.json'):
        build(root, ann_file='none.json')
