"""Teacher embeddings computed in the data loader."""

import json
import multiprocessing
import pickle

import mmcv
import numpy as np
import pytest
import torch
from mmdet.registry import TASK_UTILS
from torch.utils.data import DataLoader

from mmdet_vild.datasets import CLIPCropEmbedding

pytestmark = pytest.mark.onedl


@TASK_UTILS.register_module(force=True)
class MeanColourTeacher:
    """Embeds a crop as its mean colour."""

    identity = 'mean-colour@0'
    embed_dims = 3
    calls = 0

    def __init__(self, device='cpu'):
        pass

    def encode_crops(self, image, boxes):
        MeanColourTeacher.calls += 1
        rows = [image[y1:y2, x1:x2].mean((0, 1)) for x1, y1, x2, y2 in boxes.astype(int)]
        rows = torch.tensor(np.array(rows).reshape(-1, 3), dtype=torch.float32)
        return torch.nn.functional.normalize(rows, dim=1)


@pytest.fixture
def results(tmp_path):
    image = np.zeros((40, 50, 3), np.uint8)
    image[:, :25, 0] = 200  # blue in BGR
    image[:, 25:, 2] = 200
    mmcv.imwrite(image, str(tmp_path / '1.png'))
    return dict(img_id=1, img_path=str(tmp_path / '1.png'), ori_shape=(40, 50), img_shape=(40, 50))


@pytest.fixture
def make(tmp_path):
    rows = [([2, 3, 10, 20], 0.3), ([30, 0, 15, 40], 0.7)]
    rows = [dict(image_id=1, bbox=box, score=score) for box, score in rows]
    content = dict(images=[dict(id=1), dict(id=2)], annotations=rows)
    (tmp_path / 'proposals.json').write_text(json.dumps(content))

    def build(**teacher):
        config = dict(teacher=dict(type='MeanColourTeacher', **teacher))
        config |= dict(type='OnTheFlyEmbeddings', proposal_file=str(tmp_path / 'proposals.json'))
        return TASK_UTILS.build(config)

    return build


def test_computes_once(make, results):
    MeanColourTeacher.calls, store = 0, make()
    record = store.read(results)
    assert store.read(results) is record and MeanColourTeacher.calls == 1
    np.testing.assert_array_equal(record.boxes, [[30, 0, 45, 40], [2, 3, 12, 23]])
    np.testing.assert_allclose(record.scores, [0.7, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(record.embeddings, [[0, 0, 1], [1, 0, 0]])  # red, blue: BGR
    assert (store.teacher, store.embed_dims) == ('mean-colour@0', 3)
    empty = CLIPCropEmbedding(store)(results | dict(img_id=2))
    assert empty['distill_embeddings'].shape == (0, 3)

    # A spawned worker builds a teacher of its own.
    copied = pickle.loads(pickle.dumps(store))
    assert copied._teacher is None and not copied._records
    np.testing.assert_array_equal(copied.read(results).boxes, record.boxes)


@pytest.mark.parametrize(('factor', 'message'), [(0, 'the length 0'), (np.nan, 'hold NaN')])
def test_embeddings_that_no_store_takes(make, results, factor, message, monkeypatch):
    encode = MeanColourTeacher.encode_crops
    monkeypatch.setattr(MeanColourTeacher, 'encode_crops', lambda *args: encode(*args) * factor)
    with pytest.raises(ValueError, match=f'the embeddings of image 1.* {message}'):
        make().read(results)


def test_an_image_of_another_size(make, results):
    with pytest.raises(ValueError, match=r'image 1: .*\(40, 50\).*\(50, 40\)'):
        make().read(results | dict(ori_shape=(50, 40)))


class Reading(torch.utils.data.Dataset):
    def __init__(self, store, results):
        self.store, self.results = store, results

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return len(self.store.read(self.results))


def test_a_forked_worker_cannot_use_a_gpu(make, results, monkeypatch):
    """Nor one whose teacher was built before, by the check of a run that begins."""

    def read(device, **loading):
        store = make(device=device)
        assert store.teacher == 'mean-colour@0'
        return list(DataLoader(Reading(store, results), **loading))

    assert read('cuda:0') == read('cpu', num_workers=1, multiprocessing_context='fork') == [2]
    message = r"has device='cuda:0', which a forked .* set env_cfg.mp_cfg.mp_start_method='spawn'"
    with pytest.raises(RuntimeError, match=message):
        read('cuda:0', num_workers=1, multiprocessing_context='fork')
    monkeypatch.setattr(multiprocessing, 'get_start_method', lambda: 'spawn')
    assert read('cuda:0', num_workers=1, multiprocessing_context='fork') == [2]
