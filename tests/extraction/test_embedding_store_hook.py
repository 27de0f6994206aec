"""The store is opened, and compared, before an extraction begins."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.registry import DATA_SAMPLERS, HOOKS, METRICS
from mmengine.config import Config
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.evaluator import Evaluator
from torch import nn

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore
from mmdet_vild.extraction import RegionEmbeddingExtractor

pytestmark = pytest.mark.onedl


class Extractor(RegionEmbeddingExtractor):
    """Only says what its embeddings are."""

    source = None

    def __init__(self, **source) -> None:
        nn.Module.__init__(self)
        self.source = dict(teacher='clip@1', embed_dims=4, crop_scales=(1.0, 1.5), **source)


class Images(BaseDataset):
    METAINFO = dict(classes=('a',))

    def load_data_list(self):
        return [dict(img_id=10 + index) for index in range(5)]


@pytest.fixture
def make_runner(tmp_path):
    (tmp_path / 'train.json').write_text('{}')
    (tmp_path / 'other.json').write_text('{"images": []}')

    def make(ann_file='train.json', images_of=None, wrapped=False, size=9, loading=(), **source):
        dataset = Images(str(tmp_path / (images_of or ann_file)), serialize_data=False)
        pipeline = [
            dict(type='LoadImageFromFile', backend_args=None) | dict(loading),
            dict(type='KeepOriginalImage'),
            dict(type='Resize', scale=(size, 800), keep_ratio=True),
            dict(type='PackViLDInputs'),
        ]
        config = dict(pipeline=pipeline)
        if wrapped:
            dataset = RepeatDataset(dataset, 1)
            config = dict(type='RepeatDataset', dataset=config, times=1)
        sampler = DATA_SAMPLERS.build(dict(type='UnfinishedSampler', dataset=dataset))
        path = dict(path=str(tmp_path / 'store'), ann_file=str(tmp_path / ann_file))
        writer = METRICS.build(dict(type='EmbeddingStoreWriter', **path))
        loader = SimpleNamespace(sampler=sampler, dataset=dataset)
        return SimpleNamespace(
            model=Extractor(**source),
            test_loop=SimpleNamespace(evaluator=Evaluator(writer), dataloader=loader),
            cfg=Config(dict(test_dataloader=dict(dataset=config))),
        )

    return make


def begin(runner):
    """What the runner does at the start of a test; returns the images that are left."""
    HOOKS.build(dict(type='EmbeddingStoreHook')).before_test(runner)
    return list(runner.test_loop.dataloader.sampler)


def extract(runner, img_ids):
    begin(runner)
    writer = runner.test_loop.evaluator.metrics[0]
    record = EmbeddingRecord(*(np.ones(shape, np.float32) for shape in ((1, 4), 1, (1, 4))))
    writer._shard.write([(img_id, record, (10, 10)) for img_id in img_ids])
    writer.evaluate(5)


def test_opens_the_store_and_goes_on(make_runner, tmp_path):
    runner = make_runner()
    assert begin(runner) == [0, 1, 2, 3, 4]
    assert runner.model.dataset_meta['classes'] == ('a',)
    header = EmbeddingStore(tmp_path / 'store').header
    assert header['teacher'] == 'clip@1' and header['dtype'] == 'float16'
    assert header['pipeline'] == [dict(type='Resize', scale=[9, 800], keep_ratio=True)]
    with pytest.raises(BlockingIOError, match='another process is writing'):
        begin(make_runner())
    runner.test_loop.evaluator.evaluate(0)
    # A way of loading that changes no region.
    extract(make_runner(loading=dict(type='LoadImageOrSkip')), [10, 12])
    assert begin(make_runner()) == [1, 3, 4]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(crop_mode='pad'), "crop_mode is None in the store and 'pad' here"),
        (dict(size=8), r'pipeline is \[.*\[9, 800.*\] in the store and \[.*\[8, 800'),
        (dict(size=8, wrapped=True), r'pipeline is \[.*\[9, 800.*\] in the .*\[8, 800'),
        (dict(loading=dict(imdecode_backend='pillow')), r"and \[.*'imdecode_backend': 'pillow'"),
        (dict(ann_file='other.json'), r'dataset\.bytes is 2 in the store and 14 here'),
    ],
)
def test_a_store_that_was_begun_differently(make_runner, change, message):
    """Even if nothing is left to do."""
    extract(make_runner(), range(10, 15))
    usual = dict(imdecode_backend='cv2', color_type='color')
    assert begin(again := make_runner(wrapped=True, loading=usual)) == []
    again.test_loop.evaluator.evaluate(5)
    with pytest.raises(ValueError, match=message):
        begin(make_runner(**change))


@pytest.mark.parametrize('wrapped', [False, True])
def test_the_store_is_of_the_images_that_are_extracted(make_runner, tmp_path, wrapped):
    """As with ``--cfg-options test_dataloader.dataset.ann_file=...`` alone."""
    with pytest.raises(ValueError, match=r'those of \S+other.json, .* those of \S+train.json; set'):
        begin(make_runner(images_of='other.json', wrapped=wrapped))
    assert not (tmp_path / 'store').exists()
    (tmp_path / 'copy.json').write_text('{}')
    begin(make_runner(images_of='copy.json', wrapped=wrapped))


def test_for_an_extraction_alone(make_runner):
    runner = make_runner()
    runner.model = nn.Linear(1, 1)
    with pytest.raises(TypeError, match=r"found Linear with \['EmbeddingStoreWriter'\]"):
        begin(runner)
    runner = make_runner()
    runner.test_loop.evaluator = Evaluator([])
    with pytest.raises(TypeError, match=r'found Extractor with \[\]'):
        begin(runner)
