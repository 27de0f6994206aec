"""The metric that writes an embedding store."""

import logging
import time
from datetime import timedelta

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.dist import get_rank
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub, MMLogger
from mmengine.structures import InstanceData
from torch import distributed, multiprocessing

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore
from mmdet_vild.extraction import embedding_store_writer

pytestmark = pytest.mark.onedl


SOURCE = dict(teacher='mini-clip@0', embed_dims=4, crop_scales=[1.0, 1.5])


def predict(img_id, n, dims=4, dtype=torch.float32):
    torch.manual_seed(img_id)
    sample = DetDataSample(metainfo={'img_id': img_id, 'ori_shape': (40, 50)})
    sample.pred_instances = InstanceData(
        bboxes=torch.rand(n, 4),
        scores=torch.rand(n),
        labels=torch.zeros(n, dtype=torch.long),
        embeddings=torch.randn(n, dims, dtype=dtype, requires_grad=True),
    )
    return sample


@pytest.fixture
def evaluator(tmp_path):
    """Builds the metric in its evaluator, open; the store is the folder ``s``."""
    (tmp_path / 'train.json').write_text('{}')

    def make(opened=True):
        paths = dict(path=str(tmp_path / 's'), ann_file=str(tmp_path / 'train.json'))
        metric = METRICS.build(dict(type='EmbeddingStoreWriter', **paths))
        if opened:
            metric.open(SOURCE)
        return Evaluator(metric)

    return make


@pytest.fixture
def messages():
    """Warnings and errors that are logged."""
    found, logger = [], MMLogger.get_current_instance()
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def test_writes_at_once_and_counts(tmp_path, evaluator):
    writing = evaluator()
    samples = [predict(1, 3), predict(2, 0), predict(3, 5, dtype=torch.bfloat16)]
    writing.process(samples[:2])
    store = EmbeddingStore(tmp_path / 's')  # already there, before the run is over
    assert (len(store), store.teacher, store.embed_dims) == (2, 'mini-clip@0', 4)
    store.check_dataset(str(tmp_path / 'train.json'))
    writing.process(samples[2:])
    assert writing.evaluate(4) == {'embedding_store/images': 3, 'embedding_store/missing': 1}
    assert MessageHub.get_current_instance().get_scalar('test/crops_per_s').current() > 0

    regions = samples[0].pred_instances
    order = torch.argsort(regions.scores, descending=True)
    record = store.read({'img_id': 1, 'ori_shape': (40, 50)})
    np.testing.assert_array_equal(record.boxes, regions.bboxes[order])
    np.testing.assert_allclose(record.embeddings, regions.embeddings[order].detach(), atol=5e-3)


def test_no_other_run_begins_while_a_process_writes(evaluator, monkeypatch):
    """The first process has done its share, and waits for the others."""
    writing, waited = evaluator(), []

    def barrier(group):
        with pytest.raises(BlockingIOError, match='another process is writing'):
            evaluator()
        waited.append(True)

    monkeypatch.setattr(embedding_store_writer, 'barrier', barrier)
    writing.evaluate(0)
    assert waited
    evaluator()


def test_what_could_not_be_read_gets_no_record(tmp_path, evaluator, messages):
    writing = evaluator()
    unreadable = DetDataSample(
        metainfo={'img_id': 7, 'ori_shape': (32, 32), 'unreadable': 'seven.jpg: broken'}
    )
    writing.process([predict(1, 3), unreadable])
    assert writing.evaluate(2) == {'embedding_store/images': 1, 'embedding_store/missing': 1}
    assert messages[0] == 'skipped: seven.jpg: broken'
    assert messages[1].startswith('1 of 2 images have no record')
    assert len(messages) == 2 and EmbeddingStore(tmp_path / 's').img_ids() == [1]


def test_images_without_regions(evaluator, messages):
    """Are counted. Where no image has any, that is an error."""
    writing = evaluator()
    writing.process([predict(1, 0), predict(2, 0)])
    with pytest.raises(ValueError, match='none of the 2 images in .* has a region'):
        writing.evaluate(2)
    writing = evaluator()
    writing.process([predict(3, 1), predict(4, 0)])
    writing.evaluate(4)
    assert messages[0].startswith('2 of the images embedded now have no region, such as image 1')
    assert messages[1].startswith('1 of the images embedded now have no region, such as image 4')
    assert len(messages) == 2


def test_an_embedding_of_zero_is_refused(evaluator):
    sample = predict(1, 3)
    sample.pred_instances.embeddings.data[1] = 0
    with pytest.raises(ValueError, match='embeds a region of image 1 as zero'):
        evaluator().process([sample])


def test_weights_of_regions(evaluator, monkeypatch):
    """Go into the record where there are any."""
    fields = []
    monkeypatch.setattr(
        *(embedding_store_writer, 'EmbeddingRecord'),
        lambda *arrays: fields.append(arrays) or EmbeddingRecord(*arrays[:3]),
    )
    weighted = predict(2, 3)
    weighted.pred_instances.weights = torch.rand(3)
    evaluator().process([predict(1, 3), weighted])
    assert [len(arrays) for arrays in fields] == [3, 4]
    np.testing.assert_array_equal(fields[1][3], weighted.pred_instances.weights)


def extract(rank, folder, late):
    distributed.init_process_group(
        *('gloo', f'file://{folder}/rendezvous'),
        **dict(rank=rank, world_size=2, timeout=timedelta(seconds=5)),
    )
    (folder / 'train.json').write_text('{}') if rank == 0 else None
    distributed.barrier()
    path, ann_file = str(folder / 's'), str(folder / 'train.json')
    metric = METRICS.build(dict(type='EmbeddingStoreWriter', path=path, ann_file=ann_file))
    metric.open(SOURCE)
    writing = Evaluator(metric)
    writing.process([predict(10 + get_rank(), rank)])
    time.sleep(late * rank)
    found = writing.evaluate(2)
    assert found == {'embedding_store/images': 2, 'embedding_store/missing': 0}
    distributed.destroy_process_group()


def test_a_process_waits_longer_than_collectives_may_take(tmp_path):
    """Of two, one is done 9 seconds earlier, and a collective may take 5."""
    multiprocessing.start_processes(extract, (tmp_path, 9), nprocs=2, start_method='fork')
    assert sorted(EmbeddingStore(tmp_path / 's').img_ids()) == [10, 11]


def test_nothing_written(evaluator):
    assert evaluator().evaluate(0) == {'embedding_store/images': 0, 'embedding_store/missing': 0}


def test_model_without_embeddings_is_refused(evaluator):
    sample = predict(1, 2)
    del sample.pred_instances.embeddings
    with pytest.raises(ValueError, match='image 1 has no embeddings'):
        evaluator().process([sample])


def test_a_store_that_nobody_opened(evaluator):
    with pytest.raises(RuntimeError, match=r"not open; add dict\(type='EmbeddingStoreHook'\)"):
        evaluator(opened=False).process([predict(1, 2)])
