import copy
import json
import pickle

import mmcv
import numpy as np
import pytest
import torch
from changed import changed
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import ClassAwareSampler
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.evaluation import LVISMetric
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmdet_vild.datasets import OpenVocabularyLVISDataset

pytestmark = pytest.mark.onedl

#: Ids with gaps, as those of a subset of LVIS have.
CATEGORIES = [(3, 'cat', 'f'), (7, 'unicorn', 'r'), (20, 'spoon', 'c'), (21, 'griffin', 'r')]
#: Categories of the boxes in each image.
IMAGES = {11: [3, 7, 20], 12: [7, 21], 13: [20, 20], 14: [], 15: [3]}
PIPELINE = [LoadAnnotations(with_bbox=True, with_mask=True)]


def annotations():
    """An LVIS v1 annotation file."""
    images, annotations = [], []
    for img_id, categories in IMAGES.items():
        images.append(
            {
                'id': img_id,
                'coco_url': f'http://images.cocodataset.org/train2017/{img_id:012}.jpg',
                'height': 40,
                'width': 60,
                'neg_category_ids': [],
                'not_exhaustive_category_ids': [],
            }
        )
        for i, category in enumerate(categories):
            x, y, w, h = 5 + 15 * i, 4 + i, 12, 20
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': img_id,
                    'category_id': category,
                    'bbox': [x, y, w, h],
                    'area': w * h,
                    'segmentation': [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )
    categories = [
        {'id': i, 'name': name, 'synonyms': [name], 'frequency': frequency}
        for i, name, frequency in CATEGORIES
    ]
    return {'images': images, 'annotations': annotations, 'categories': categories}


@pytest.fixture
def write(tmp_path):
    def write(data):
        (tmp_path / 'lvis.json').write_text(data if isinstance(data, str) else json.dumps(data))
        return str(tmp_path / 'lvis.json')

    return write


@pytest.fixture
def build(write):
    def build(data=None, **kwargs):
        options = {'pipeline': PIPELINE, 'data_prefix': {'img': ''}, **kwargs}
        return OpenVocabularyLVISDataset(ann_file=write(data or annotations()), **options)

    return build


def labels_of(dataset):
    return {
        info['img_id']: [instance['bbox_label'] for instance in info['instances']]
        for info in map(dataset.get_data_info, range(len(dataset)))
    }


def test_categories_come_from_the_file(build):
    dataset = build()
    assert dataset.metainfo['classes'] == ('cat', 'unicorn', 'spoon', 'griffin')
    assert dataset.metainfo['novel_classes'] == ('unicorn', 'griffin')
    assert OpenVocabularyLVISDataset.METAINFO['classes'] == ()


def test_novel_annotations_do_not_reach_training(build):
    dataset = build()
    assert labels_of(dataset) == {11: [0, 2], 12: [], 13: [2, 2], 14: [], 15: [0]}
    assert [dataset.get_cat_ids(i) for i in range(5)] == [[0, 2], [], [2, 2], [], [0]]
    assert 'unicorn' not in repr([dataset.get_data_info(i) for i in range(5)])
    sample = dataset.pipeline({**dataset.get_data_info(0), 'ori_shape': (40, 60)})
    assert sample['gt_bboxes_labels'].tolist() == [0, 2]
    np.testing.assert_array_equal(sample['gt_bboxes'].numpy()[1], [35, 6, 47, 26])


def test_dropping_is_logged(build, caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    build()
    logger.removeHandler(caplog.handler)
    assert 'dropped 3 annotations of 2 novel categories (of 4 categories)' in caplog.text


@pytest.mark.parametrize('options', [{'drop_novel': False}, {'test_mode': True}])
def test_novel_annotations_stay_on_request_and_in_tests(build, options):
    dataset = build(**options)
    assert labels_of(dataset) == {11: [0, 1, 2], 12: [1, 3], 13: [2, 2], 14: [], 15: [0]}


def test_images_with_nothing_but_novel_objects_are_empty(build):
    config = {'filter_empty_gt': True, 'min_size': 32}
    assert set(labels_of(build(filter_cfg=config))) == {11, 13, 15}
    assert set(labels_of(build(filter_cfg=config, drop_novel=False))) == {11, 12, 13, 15}
    assert set(labels_of(build(filter_cfg=config, test_mode=True))) == set(IMAGES)
    with pytest.raises(ValueError, match='no image of .* is left'):
        build(filter_cfg={'filter_empty_gt': True, 'min_size': 50})


def test_images_of_unusable_boxes_are_empty(build):
    """Otherwise all their pixels would be learned as background."""
    data = annotations()
    for annotation in data['annotations']:
        if annotation['image_id'] != 13:
            annotation['bbox'][2] = 0
    config = {'filter_empty_gt': True}
    assert set(labels_of(build(data, filter_cfg=config))) == {13}
    assert set(labels_of(build(data))) == set(IMAGES)
    assert set(labels_of(build(data, filter_cfg=config, test_mode=True))) == set(IMAGES)
    for annotation in data['annotations']:
        annotation['bbox'][2] = 0
    with pytest.raises(ValueError, match='no image of .* is left'):
        build(data, filter_cfg=config)


def test_samplers_and_wrappers_see_base_categories_only(build, write):
    dataset = build()
    sampler = ClassAwareSampler(dataset, seed=0)
    assert sampler.valid_cat_inds == [0, 2]
    balanced = ClassBalancedDataset(
        {
            'type': 'OpenVocabularyLVISDataset',
            'ann_file': dataset.ann_file,
            'pipeline': [],
            'data_prefix': {'img': ''},
        },
        oversample_thr=0.5,
    )
    assert balanced.metainfo['novel_classes'] == ('unicorn', 'griffin')
    assert len(pickle.loads(pickle.dumps(dataset))) == 5


def test_as_the_stock_tools_use_it(build, tmp_path, write):
    """A Runner's data loader over image files; perfect predictions have an AP of 1 by LVISMetric.

    LVISMetric maps labels to categories on its own, from the annotation file.
    """
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    for img_id in IMAGES:
        mmcv.imwrite(image, str(tmp_path / 'train2017' / f'{img_id:012}.jpg'))
    config = Config(
        {
            'dataset': {
                'type': 'OpenVocabularyLVISDataset',
                'data_root': str(tmp_path),
                'ann_file': write(annotations()),
                'data_prefix': {'img': ''},
                'test_mode': True,
                'pipeline': [
                    {'type': LoadImageFromFile},
                    {'type': LoadAnnotations, 'with_mask': True},
                    {
                        'type': 'PackViLDInputs',
                        'meta_keys': ('img_id', 'ori_shape', 'img_path'),
                    },
                ],
            },
            'batch_size': 2,
            'num_workers': 1,
            'persistent_workers': False,
            'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        }
    )
    loader = Runner.build_dataloader(config)
    metric = LVISMetric(ann_file=config.dataset.ann_file, metric=['bbox', 'segm'])
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        for sample in batch['data_samples']:
            truth = sample.gt_instances
            sample.pred_instances = InstanceData(
                bboxes=truth.bboxes.tensor,
                labels=truth.labels,
                scores=torch.ones(len(truth)),
                masks=truth.masks.to_tensor(torch.bool, 'cpu'),
            )
        evaluator.process(batch['data_samples'])
    found = evaluator.evaluate(len(loader.dataset))
    for key in ('AP', 'APr', 'APc', 'APf'):
        assert found[f'lvis/bbox_{key}'] == found[f'lvis/segm_{key}'] == 1


def test_visualizer_takes_its_metainfo(build):
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = build().metainfo
    sample = DetDataSample()
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[5.0, 5, 30, 30]]),
        labels=torch.tensor([3]),
        scores=torch.tensor([0.9]),
    )
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    visualizer.add_datasample('any', image, sample, draw_gt=False)
    assert visualizer.get_image().any()


def test_metainfo_without_files():
    """DetInferencer builds the test dataset lazily for its palette, wherever the files are."""
    config = {'type': 'OpenVocabularyLVISDataset', 'ann_file': 'nowhere.json', 'lazy_init': True}
    assert DATASETS.build(config).metainfo['palette'] == 'random'


def change(path, value=None):
    return changed(annotations(), path, value)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (change(['categories', 2, 'frequency']), "1 of 4 categories .* 'spoon'; mark novel"),
        (change(['categories', 2, 'frequency'], 'x'), "such as 'spoon'"),
        (change(['categories']), "lacks the field 'categories'"),
        (change(['images', 0, 'coco_url']), "lacks the field 'coco_url'"),
        (change(['annotations', 0, 'bbox']), "lacks the field 'bbox'"),
        (change(['annotations', 0, 'segmentation']), 'annotation 1 .* has no segmentation'),
        (change(['annotations', 0, 'segmentation'], []), 'annotation 1 .* has no segmentation'),
        (change(['categories'], annotations()['categories'][::-1]), 'not in the order of their'),
        (change(['images'], []), 'has no images'),
        ('{"images": ', 'not valid JSON'),
    ],
)
def test_malformed_files(build, data, message):
    with pytest.raises(ValueError, match=message):
        build(data)


def test_files_without_novel_categories(build):
    data = annotations()
    for category in data['categories']:
        category['frequency'] = 'f'
    with pytest.raises(ValueError, match='none of the 4 categories of .* is novel: mark those'):
        build(data)
    assert build(data, drop_novel=False).metainfo['novel_classes'] == ()
    assert build(data, test_mode=True).metainfo['novel_classes'] == ()


def test_boxes_without_masks_are_enough_for_box_training(build):
    boxes_only = copy.deepcopy(annotations())
    for annotation in boxes_only['annotations']:
        del annotation['segmentation']
    dataset = build(boxes_only, pipeline=[LoadAnnotations(with_mask=False)])
    assert len(dataset[0]['gt_bboxes']) == 2


def test_missing_file():
    with pytest.raises(FileNotFoundError, match='no annotation file at nowhere.json'):
        OpenVocabularyLVISDataset(ann_file='nowhere.json', data_prefix={'img': ''})


def test_missing_data_prefix(build):
    with pytest.raises(ValueError, match=r"found data_prefix=\{'img_path': ''\} for .* no 'img'"):
        build(data_prefix={'img_path': ''})


def test_masks_are_asked_for_inside_wrappers(build):
    nested = {'type': 'mmdet.RandomOrder', 'transforms': PIPELINE}
    with pytest.raises(ValueError, match='annotation 1 .* has no segmentation'):
        build(change(['annotations', 0, 'segmentation']), pipeline=[nested])


def test_other_classes_are_refused(build):
    with pytest.raises(ValueError, match='metainfo names 2 classes'):
        build(metainfo={'classes': ('cat', 'dog')})
    names = tuple(name for _, name, _ in CATEGORIES)
    assert build(metainfo={'classes': names}).metainfo['novel_classes'] == ('unicorn', 'griffin')


def test_unrecorded_transforms_stop_the_build(build):
    from memory_store import Memory

    pipeline = [
        *PIPELINE,
        {'type': 'mmdet.Expand'},
        {'type': 'CLIPCropEmbedding', 'store': Memory([])},
    ]
    with pytest.raises(ValueError, match='Expand .* which moves pixels'):
        build(pipeline=pipeline)
    build(pipeline=[pipeline[0], pipeline[1]])  # of no concern without embeddings
