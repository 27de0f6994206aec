"""The metric that writes an embedding store."""

import time
from datetime import timedelta

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import distributed
from two_processes import in_two_processes

from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.extraction import embedding_store_writer

pytestmark = pytest.mark.onedl

SOURCE = dict(teacher='mini-clip@0', embed_dims=4, crop_scales=[1.0, 1.5])


def predict(img_id, n, **regions):
    torch.manual_seed(img_id)
    sample = DetDataSample(metainfo={'img_id': img_id, 'ori_shape': (40, 50)})
    found = dict(bboxes=torch.rand(n, 4), scores=torch.rand(n), embeddings=torch.randn(n, 4))
    sample.pred_instances = InstanceData(**found | regions)
    return sample


def build(folder):
    """The metric in its evaluator; the store is the folder ``s``."""
    (folder / 'train.json').write_text('{}')
    paths = dict(path=str(folder / 's'), ann_file=str(folder / 'train.json'))
    return Evaluator(METRICS.build(dict(type='EmbeddingStoreWriter', **paths)))


@pytest.fixture
def evaluator(tmp_path):
    """Builds it, and opens the store."""

    def make():
        evaluator = build(tmp_path)
        evaluator.metrics[0].open(SOURCE)
        return evaluator

    return make


def test_writes_at_once_and_counts(tmp_path, evaluator):
    writing = evaluator()
    embeddings = torch.randn(5, 4, dtype=torch.bfloat16, requires_grad=True)
    weighted = predict(3, 5, embeddings=embeddings, weights=torch.rand(5))
    writing.process([predict(1, 3), predict(2, 0)])
    store = EmbeddingStore(tmp_path / 's')  # already there, before the run is over
    assert (len(store), store.teacher, store.embed_dims) == (2, 'mini-clip@0', 4)
    store.check_dataset(str(tmp_path / 'train.json'))
    writing.process([weighted])
    assert MessageHub.get_current_instance().get_scalar('test/crops_per_s').current() > 0
    assert writing.evaluate(4) == {'embedding_store/images': 3, 'embedding_store/missing': 1}

    regions = weighted.pred_instances
    order = torch.argsort(regions.scores, descending=True)
    record = store.read({'img_id': 3, 'ori_shape': (40, 50)})
    np.testing.assert_array_equal(record.boxes, regions.bboxes[order])
    np.testing.assert_array_equal(record.weights, regions.weights[order])
    np.testing.assert_array_equal(record.embeddings, embeddings[order].detach().float())
    assert store.read({'img_id': 1, 'ori_shape': (40, 50)}).weights.tolist() == [1] * 3


def test_no_other_run_begins_while_a_process_writes(evaluator, monkeypatch):
    """The first process has done its share, and waits for the others."""
    writing, waited = evaluator(), []

    def barrier(group):
        with pytest.raises(BlockingIOError, match='another process is writing'):
            evaluator()
        waited.append(True)

    monkeypatch.setattr(embedding_store_writer, 'barrier', barrier)
    assert writing.evaluate(0) == {'embedding_store/images': 0, 'embedding_store/missing': 0}
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
    """Are counted, of all runs. Where no image has any, that is an error, also of the next run."""
    writing = evaluator()
    writing.process([predict(1, 0)])
    writing.metrics[0]._shard.close()  # as a kill does
    for samples in ([predict(2, 0)], []):
        writing = evaluator()
        writing.process(samples)
        with pytest.raises(ValueError, match='none of the 2 images in .* has a region'):
            writing.evaluate(2)
    writing = evaluator()
    writing.process([predict(3, 1), predict(4, 0)])
    writing.evaluate(4)
    of = [message.split(' images')[0] for message in messages]
    assert of == ['2 of the 2', '2 of the 2', '3 of the 4']
    assert messages[2].endswith(
        'have no region, such as image 4; nothing can be distilled from them'
    )


def test_refused(tmp_path, evaluator):
    zero = torch.ones(3, 4) * torch.tensor([[1], [0], [1]])
    without = predict(1, 2)
    del without.pred_instances.embeddings
    writing = evaluator()
    for sample, message in (
        (
            predict(1, 3, embeddings=zero),
            'embeddings of image 1: that of region 1 has the length 0,',
        ),
        (without, 'image 1 has no embeddings'),
    ):
        with pytest.raises(ValueError, match=message):
            writing.process([sample])
    with pytest.raises(RuntimeError, match=r"not open; add dict\(type='EmbeddingStoreHook'\)"):
        build(tmp_path).process([predict(1, 2)])


def extract(rank, folder, late):
    distributed.init_process_group(
        *('gloo', f'file://{folder}/rendezvous'),
        **dict(rank=rank, world_size=2, timeout=timedelta(seconds=5)),
    )
    writing = build(folder)
    distributed.barrier()
    writing.metrics[0].open(SOURCE)
    writing.process([predict(10 + rank, rank)])
    time.sleep(late * rank)
    found = writing.evaluate(2)
    assert found == {'embedding_store/images': 2, 'embedding_store/missing': 0}


def test_a_process_waits_longer_than_collectives_may_take(tmp_path):
    """Of two, one is done 9 seconds earlier, and a collective may take 5."""
    in_two_processes(extract, tmp_path, 9)
    assert sorted(EmbeddingStore(tmp_path / 's').img_ids()) == [10, 11]
