"""What datasets with novel categories have in common, in COCO's format and in LVIS's."""

import functools
import pickle

import mmcv
import numpy as np
import pytest
from annotation_files import IMAGES, PIPELINE, annotations, build, labels_of
from changed import changed
from memory_store import Memory
from mmdet.datasets import ClassAwareSampler
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import DATASETS
from mmengine.dataset import ClassBalancedDataset
from mmengine.runner import Runner

pytestmark = pytest.mark.onedl

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


def test_as_the_stock_tools_use_it(make, kind, tmp_path):
    """In a Runner's data loader, over image files."""
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    for img_id in IMAGES:
        for name in (f'train2017/{img_id:012}.jpg', f'{img_id}.jpg'):
            mmcv.imwrite(image, str(tmp_path / name))
    dataset = dict(
        type=type(make()).__name__,
        data_root=str(tmp_path),
        ann_file=make().ann_file,
        data_prefix=dict(img=''),
        metainfo=dict(novel_classes=['unicorn', 'griffin']),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='mmdet.LoadAnnotations', with_mask=True, with_bbox=True),
            dict(type='PackViLDInputs'),
        ],
    )
    config = dict(
        dataset=dataset, batch_size=5, num_workers=1, persistent_workers=False,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )  # fmt: skip
    (batch,) = Runner.build_dataloader(config)
    found = {s.img_id: s.gt_instances.labels.tolist() for s in batch['data_samples']}
    assert found == BASE


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


def test_missing_file_and_prefix(make):
    cls = type(make())
    with pytest.raises(FileNotFoundError, match='no annotation file at nowhere.json'):
        cls(ann_file='nowhere.json', data_prefix={'img': ''})
    with pytest.raises(ValueError, match=r"found data_prefix=\{'img_path': ''\} for .* no 'img'"):
        make(data_prefix={'img_path': ''})


def test_unrecorded_transforms_stop_the_build(make):
    pipeline = [*PIPELINE, {'type': 'mmdet.Expand'}]
    with pytest.raises(ValueError, match='Expand .* which moves pixels'):
        make(pipeline=[*pipeline, {'type': 'CLIPCropEmbedding', 'store': Memory([])}])
    make(pipeline=pipeline)  # of no concern without embeddings
