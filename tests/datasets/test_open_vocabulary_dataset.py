"""What datasets with novel categories have in common, in COCO's format and in LVIS's."""

import functools
import io
import pickle

import numpy as np
import pytest
from annotation_files import CATEGORIES, IMAGES, PIPELINE, annotations, build, labels_of
from changed import changed
from mmdet.datasets import ClassAwareSampler
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import ClassBalancedDataset
from mmengine.logging import MMLogger
from mmengine.logging.logger import FilterDuplicateWarning
from PIL import Image

pytestmark = pytest.mark.onedl

ALL_NAMES = [name for _, name, _ in CATEGORIES]
EMPTY = {'filter_empty_gt': True, 'min_size': 32}
BASE = {11: [0, 2], 12: [], 13: [2, 2], 14: [], 15: [0]}
ALL = {11: [0, 1, 2], 12: [1, 3], 13: [2, 2], 14: [], 15: [0]}


@pytest.fixture(params=['coco', 'lvis'])
def kind(request):
    return request.param


@pytest.fixture
def make(tmp_path, kind):
    return functools.partial(build, tmp_path, kind)


def test_novel_annotations_do_not_reach_training(make):
    dataset = make()
    assert dataset.metainfo['classes'] == ('cat', 'unicorn', 'spoon', 'griffin')
    assert dataset.metainfo['novel_classes'] == ('unicorn', 'griffin')
    assert dataset.metainfo['base_classes'] == ('cat', 'spoon')
    assert type(dataset).METAINFO['classes'] == ()
    assert labels_of(dataset) == BASE
    assert [dataset.get_cat_ids(i) for i in range(5)] == list(BASE.values())
    sample = dataset.pipeline({**dataset.get_data_info(0), 'ori_shape': (40, 60)})
    assert sample['gt_bboxes_labels'].tolist() == [0, 2]
    np.testing.assert_array_equal(sample['gt_bboxes'].numpy()[1], [35, 6, 47, 26])
    assert len(pickle.loads(pickle.dumps(dataset))) == 5


@pytest.mark.parametrize('options', [{'drop_novel': False}, {'test_mode': True}])
def test_novel_annotations_stay_on_request_and_in_tests(make, options):
    assert labels_of(make(**options)) == ALL


def test_images_with_nothing_but_novel_objects_are_empty(make, kind):
    assert set(labels_of(make(filter_cfg=EMPTY))) == {11, 13, 15}
    assert set(labels_of(make(filter_cfg=EMPTY, drop_novel=False))) == {11, 12, 13, 15}
    # Only in COCO's format a detection on an empty image would be wrong whatever it is.
    tested = set(IMAGES) - ({14} if kind == 'coco' else set())
    assert set(labels_of(make(filter_cfg=EMPTY, test_mode=True))) == tested
    with pytest.raises(ValueError, match='no image of .* is left'):
        make(filter_cfg={**EMPTY, 'min_size': 50})


def test_images_of_unusable_boxes_are_empty(make, kind):
    """Otherwise all their pixels would be learned as background."""
    data, change = annotations(kind), dict(bbox=[5, 5, 0, 9])
    for annotation in data['annotations']:
        if annotation['image_id'] != 13:
            annotation.update(change)
    assert set(labels_of(make(data, filter_cfg=EMPTY))) == {13}
    assert set(labels_of(make(data))) == set(IMAGES)
    for annotation in data['annotations']:
        annotation.update(change)
    with pytest.raises(ValueError, match='no image of .* is left'):
        make(data, filter_cfg=EMPTY)


def test_samplers_and_wrappers_see_base_categories_only(make):
    dataset = make()
    assert ClassAwareSampler(dataset, seed=0).valid_cat_inds == [0, 2]
    balanced = ClassBalancedDataset(dataset, oversample_thr=0.5)
    assert balanced.metainfo['novel_classes'] == ('unicorn', 'griffin')


def test_metainfo_without_files(make):
    """DetInferencer builds the test dataset lazily for its palette, wherever the files are."""
    config = dict(type=type(make()).__name__, ann_file='nowhere.json', lazy_init=True)
    assert DATASETS.build(config).metainfo['palette'] == 'random'


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (['categories'], None, "lacks the field 'categories'. It needs images"),
        (
            ['annotations', 0, 'segmentation'],
            None,
            'annotation 1 .* has no segmentation, nor have 0',
        ),
        (['annotations', 0, 'segmentation'], [], 'annotation 1 .* has no segmentation'),
        (['images'], [], 'has no images'),
        (['categories', 3, 'name'], 'cat', r"more than once: \['cat'\]"),
        (None, '[1, 2]', r'mine.json holds \[1, 2\]; expected an object. It needs images'),
        (None, '{"images": ', 'not valid JSON'),
        (None, f'[{"1" * 5000}]', r'mine.json cannot be read .*\. It needs images'),
    ],
)
def test_malformed_files(make, kind, path, value, message):
    data = value if path is None else changed(annotations(kind), path, value)
    with pytest.raises(ValueError, match=message.replace('mine', kind)):
        make(data)
    if path == ['annotations', 0, 'segmentation']:
        nested = {'type': 'mmdet.RandomOrder', 'transforms': PIPELINE}
        with pytest.raises(ValueError, match=message):
            make(data, pipeline=[nested])
        boxes = make(data, pipeline=[LoadAnnotations(with_mask=False)])
        assert len(boxes[0]['gt_bboxes']) == 2


@pytest.mark.parametrize(
    ('novel', 'message'),
    [
        ('cat', r"found 'cat'; write one name as novel_classes=..cat.,."),
        (('dragon', 'cat'), r"are none of .*'s 4 classes: \['dragon'\]"),
        (7, 'must be a list of names, found 7'),
    ],
)
def test_novel_classes_that_do_not_fit(make, novel, message):
    with pytest.raises(ValueError, match=message):
        make(metainfo=dict(novel_classes=novel))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(metainfo=dict(novel_class=['cat'])),
            r"metainfo .* has \['novel_class'\], which",
        ),
        *(
            (
                dict(metainfo={key: ['cat'], 'novel_classes': ['cat']}),
                rf"has \['{key}'\], which say nothing here; write \['novel_classes'\]",
            )
            for key in ('novel', 'novel_names', 'unseen_classes', 'unseen', 'rare', 'novelNames')
        ),
        (dict(metainfo=dict(seen=['cat'])), r"has \['seen'\], .* write \['base_classes'\]"),
        (dict(metainfo=dict(CLASSES=['cat'])), r"metainfo for .* has \['CLASSES'\]"),
        (dict(metainfo=dict(novel_classes=['cat'], base_classes=['spoon'])), 'the base_classes'),
        (
            dict(metainfo=dict(novel_classes=ALL_NAMES)),
            'all 4 classes of',
        ),
        (dict(metainfo=dict(classes=7)), 'classes of metainfo .* must be a list of texts, found 7'),
        (dict(filter_cfg=dict(filter_empty_gts=True)), r"filter_cfg .* has \['filter_empty_gts'\]"),
        (dict(filter_cfg=dict(filter_empty_gt='no')), 'filter_empty_gt .* must be True or False'),
        (dict(filter_cfg=dict(min_size='small')), 'min_size of filter_cfg .* must be a number'),
        (dict(filter_cfg='yes'), "filter_cfg of .* must be a dict or None, found 'yes'"),
        (dict(test_mode='no'), 'test_mode of .* must be True or False'),
    ],
)
def test_options_that_say_nothing(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_base_classes_and_keys_of_ones_own_may_be_named(make):
    given = {**make().metainfo, 'task_name': 'animals', 'database': 1}
    assert make(metainfo=given).metainfo == given


def test_missing_file_and_prefix(make):
    cls = type(make())
    with pytest.raises(FileNotFoundError, match='no annotation file at nowhere.json'):
        cls(ann_file='nowhere.json', data_prefix={'img': ''})
    with pytest.raises(ValueError, match=r"found data_prefix=\{'img_path': ''\} for .* no 'img'"):
        make(data_prefix={'img_path': ''})


#: Images of every kind, through the stock transforms: a right sample, or an error that names it.
WIDTH, HEIGHT = 60, 40
EXIF_ORIENTATION, ROTATED = 0x0112, 6


@pytest.fixture
def load(tmp_path):
    """Sample 0 of a dataset of one image."""

    def load(image: Image.Image | bytes, width=WIDTH, height=HEIGHT, box=(5, 5, 20, 20), **options):
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = options.pop('orientation', 1)
        path = tmp_path / 'picture.jpg'
        path.write_bytes(image) if isinstance(image, bytes) else image.save(path, exif=exif)
        content = annotations('lvis', [(1, 'cat', 'f'), (2, 'owl', 'r')], {1: [1]})
        content['images'][0].update(coco_url='picture.jpg', width=width, height=height)
        content['annotations'][0].update(bbox=box, area=box[2] * box[3])
        folder = tmp_path / options.pop('folder', '.')
        folder.mkdir(exist_ok=True)
        pipeline = [
            TRANSFORMS.build(dict(type='LoadImageFromFile', **options)),
            LoadAnnotations(with_bbox=True),
            Resize(scale=(120, 80), keep_ratio=True),
            PackDetInputs(),
        ]
        prefix = dict(img=str(tmp_path))
        return build(folder, 'lvis', content, pipeline=pipeline, data_prefix=prefix)[0]

    return load


def picture(mode: str = 'RGB', size=(WIDTH, HEIGHT)) -> Image.Image:
    return Image.new(mode, size, 128 if mode == 'L' else tuple([128] * len(mode)))


@pytest.mark.parametrize(
    ('mode', 'size', 'box', 'shape', 'expected'),
    [
        *((mode, (WIDTH, HEIGHT), (5, 5, 20, 20), (80, 120), [10, 10, 50, 50])
          for mode in ('RGB', 'L', 'CMYK')),
        ('RGB', (1, 1), (0, 0, 1, 1), (80, 80), [0, 0, 80, 80]),
    ],
)  # fmt: skip
def test_colour_modes_and_a_single_pixel(load, mode, size, box, shape, expected):
    sample = load(picture(mode, size), *size, box)
    assert sample['inputs'].shape == (3, *shape)
    np.testing.assert_allclose(sample['data_samples'].gt_instances.bboxes.tensor, [expected])


def test_exif_orientation(load):
    """The annotations follow it, or they do not."""
    rotated = dict(orientation=ROTATED)
    assert load(picture(), HEIGHT, WIDTH, **rotated)['inputs'].shape == (3, 120, 80)
    with pytest.raises(ValueError, match='has 40x60 pixels, but .* says 60x40; if .* EXIF .* load'):
        load(picture(), **rotated)
    sample = load(picture(), color_type='color_ignore_orientation', **rotated)
    assert sample['inputs'].shape == (3, 80, 120)


def test_another_size_than_annotated(load):
    with pytest.raises(ValueError, match='picture.jpg has 30x20 pixels, .* says 60x40; correct'):
        load(picture(size=(30, 20)))


def test_broken_files(load):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole := io.BytesIO(), 'jpeg')
    for content in (b'', b'no picture', whole.getvalue()[:30]):
        with pytest.raises(Exception, match='picture.jpg'):
            load(content)


def test_every_file_is_reported(load, caplog):
    """Though MMLogger shows a warning only once."""
    logger = MMLogger.get_current_instance()
    caplog.handler.addFilter(FilterDuplicateWarning('twice'))
    logger.addHandler(caplog.handler)
    try:
        for folder in ('train', 'val'):
            sample = load(picture(), box=(5, 5, 0, 10), folder=folder)
            assert len(sample['data_samples'].gt_instances) == 0
            assert f'{folder}/lvis.json may not say what is meant' in caplog.text
    finally:
        logger.removeHandler(caplog.handler)
