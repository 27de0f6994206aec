import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from mmdet_vild.datasets import EMBEDDING_TEACHER_KEY, NpzEmbeddingStore

pytestmark = pytest.mark.onedl


def predict(img_id, n, teacher='mini-clip@0', dims=4, dtype=torch.float32):
    torch.manual_seed(img_id)
    sample = DetDataSample(metainfo={'img_id': img_id, 'ori_shape': (40, 50)})
    sample.set_metainfo({EMBEDDING_TEACHER_KEY: teacher})
    sample.pred_instances = InstanceData(
        bboxes=torch.rand(n, 4),
        scores=torch.rand(n),
        labels=torch.zeros(n, dtype=torch.long),
        embeddings=torch.randn(n, dims, dtype=dtype, requires_grad=True),
    )
    return sample


def writer(path):
    return METRICS.build({'type': 'EmbeddingStoreWriter', 'path': str(path)})


def test_writes_at_once_and_counts(tmp_path):
    metric = writer(tmp_path / 's')
    evaluator = Evaluator(metric)
    samples = [predict(1, 3), predict(2, 0), predict(3, 5, dtype=torch.bfloat16)]
    evaluator.process(samples[:2])
    store = NpzEmbeddingStore(tmp_path / 's')  # already there, before the run is over
    assert (len(store), store.teacher, store.embed_dims) == (2, 'mini-clip@0', 4)
    assert metric.results == [3, 0]
    evaluator.process(samples[2:])
    assert evaluator.evaluate(3) == {'embedding_store/images': 3, 'embedding_store/regions': 8}

    regions = samples[0].pred_instances
    order = torch.argsort(regions.scores, descending=True)
    record = store.read({'img_id': 1, 'ori_shape': (40, 50)})
    np.testing.assert_array_equal(record.boxes, regions.bboxes[order])
    np.testing.assert_allclose(record.embeddings, regions.embeddings[order].detach(), atol=5e-3)


def test_resumes_the_same_teacher_and_refuses_another(tmp_path):
    Evaluator(writer(tmp_path / 's')).process([predict(1, 3)])
    Evaluator(writer(tmp_path / 's')).process([predict(1, 2), predict(2, 2)])
    store = NpzEmbeddingStore(tmp_path / 's')
    assert len(store) == 2
    assert len(store.read({'img_id': 1, 'ori_shape': (40, 50)})) == 2
    with pytest.raises(ValueError, match='mini-clip@0.*other@1'):
        Evaluator(writer(tmp_path / 's')).process([predict(3, 2, teacher='other@1')])
    evaluator = Evaluator(writer(tmp_path / 's'))
    evaluator.process([predict(1, 2)])
    with pytest.raises(ValueError, match='mini-clip@0.*other@1'):
        evaluator.process([predict(1, 2, teacher='other@1')])


def test_model_without_embeddings_is_refused(tmp_path):
    sample = predict(1, 2)
    del sample.pred_instances.embeddings
    with pytest.raises(ValueError, match='image 1 has no embeddings'):
        Evaluator(writer(tmp_path / 's')).process([sample])
    unnamed = DetDataSample(metainfo={'img_id': 1, 'ori_shape': (40, 50)})
    unnamed.pred_instances = predict(1, 2).pred_instances
    with pytest.raises(ValueError, match=EMBEDDING_TEACHER_KEY):
        Evaluator(writer(tmp_path / 's')).process([unnamed])
