import contextlib
import json
import pickle

import mmcv
import numpy as np
import pytest
import torch
from mmdet.registry import TASK_UTILS

from mmdet_vild.datasets import CLIPCropEmbedding
from mmdet_vild.extraction import OnTheFlyEmbeddings

pytestmark = pytest.mark.onedl


@TASK_UTILS.register_module(force=True)
class MeanColourTeacher:
    """Embeds a crop as its mean colour."""

    identity = 'mean-colour@0'
    embed_dims = 3
    calls = 0

    def encode_crops(self, image, boxes):
        MeanColourTeacher.calls += 1
        rows = [
            image[int(y1) : int(y2), int(x1) : int(x2)].mean((0, 1)) for x1, y1, x2, y2 in boxes
        ]
        rows = torch.tensor(np.array(rows).reshape(-1, 3), dtype=torch.float32)
        return torch.nn.functional.normalize(rows, dim=1)


@pytest.fixture
def image_file(tmp_path):
    image = np.zeros((40, 50, 3), dtype=np.uint8)
    image[:, :25, 0] = 200  # blue in BGR
    image[:, 25:, 2] = 200
    mmcv.imwrite(image, str(tmp_path / '1.png'))
    return str(tmp_path / '1.png')


def write_proposals(path, proposals):
    path.write_text(json.dumps(proposals))
    return str(path)


@pytest.fixture
def store(tmp_path):
    proposals = [
        dict(image_id=1, bbox=[2, 3, 10, 20], score=0.3, category_id=1),
        dict(image_id=2, bbox=[0, 0, 5, 5], score=0.9, category_id=1),
        dict(image_id=1, bbox=[30, 0, 15, 40], score=0.7, category_id=1),
    ]
    return TASK_UTILS.build(
        dict(
            type='OnTheFlyEmbeddings',
            teacher=dict(type='MeanColourTeacher'),
            proposal_file=write_proposals(tmp_path / 'proposals.json', proposals),
        )
    )


def test_computes_once(store, image_file):
    results = dict(img_id=1, img_path=image_file, ori_shape=(40, 50))
    MeanColourTeacher.calls = 0
    record = store.read(results)
    assert store.read(results) is record and MeanColourTeacher.calls == 1
    np.testing.assert_array_equal(record.boxes, [[30, 0, 45, 40], [2, 3, 12, 23]])
    np.testing.assert_allclose(record.scores, [0.7, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(record.embeddings, [[0, 0, 1], [1, 0, 0]])  # red, blue: BGR
    assert (store.teacher, store.embed_dims) == ('mean-colour@0', 3)


def test_spawned_worker_builds_its_own_teacher(store, image_file):
    results = dict(img_id=1, img_path=image_file, ori_shape=(40, 50))
    store.read(results)
    copied = pickle.loads(pickle.dumps(store))
    assert copied._teacher is None and not copied._records
    np.testing.assert_array_equal(copied.read(results).boxes, store.read(results).boxes)


def test_errors_name_the_image(store, image_file):
    with pytest.raises(KeyError, match='does not name image 3 .*x.png.*list it in'):
        store.read(dict(img_id=3, img_path='x.png', ori_shape=(40, 50)))
    with pytest.raises(ValueError, match=r'image 1: .*\(40, 50\).*\(50, 40\)'):
        store.read(dict(img_id=1, img_path=image_file, ori_shape=(50, 40)))


def test_a_listed_image_may_have_no_regions(tmp_path, image_file):
    regions = [dict(image_id=2, bbox=[0, 0, 5, 5], score=0.9, category_id=1)]
    content = dict(images=[dict(id=1), dict(id=2)], annotations=regions)
    file = write_proposals(tmp_path / 'proposals.json', content)
    store = OnTheFlyEmbeddings(dict(type='MeanColourTeacher'), file)
    record = store.read(dict(img_id=1, img_path=image_file, ori_shape=(40, 50)))
    record.check('the record', 3)
    assert len(record) == 0
    assert len(store.read(dict(img_id=2, img_path=image_file, ori_shape=(40, 50)))) == 1
    with pytest.raises(KeyError, match='does not name image 3'):
        store.read(dict(img_id=3, img_path='x.png', ori_shape=(40, 50)))
    results = dict(img_id=1, img_path=image_file, ori_shape=(40, 50), img_shape=(40, 50))
    assert CLIPCropEmbedding(store)(results)['distill_embeddings'].shape == (0, 3)


@pytest.mark.parametrize(
    'content', [{'a': 1}, {'images': [1], 'annotations': []}, [{'bbox': [1, 2, 3, 4]}], [[1, 2]], 3]
)
def test_malformed_proposals(tmp_path, content):
    file = write_proposals(tmp_path / 'p.json', content)
    with pytest.raises(ValueError, match='not a COCO-style results file'):
        OnTheFlyEmbeddings(dict(type='MeanColourTeacher'), file)


@pytest.mark.parametrize('size', [(-10, 5), (10, -5), (0, 5)])
def test_boxes_without_width_or_height_are_refused(tmp_path, size):
    regions = [dict(image_id=1, bbox=[20, 8, *s], score=0.5) for s in ((4, 4), size)]
    file = write_proposals(tmp_path / 'p.json', regions)
    with pytest.raises(ValueError, match=r'p.json has the box \[20.0, 8.0, .* for image 1; expec'):
        OnTheFlyEmbeddings(dict(type='MeanColourTeacher'), file)


def test_boxes_are_clipped_to_the_image(tmp_path, image_file):
    results = dict(img_id=1, img_path=image_file, ori_shape=(40, 50))
    for box, inside in (([-5, 30, 10, 10.5], [0, 30, 5, 40]), ([51, 0, 9, 9], None)):
        regions = [dict(image_id=1, bbox=box, score=0.5)]
        file = write_proposals(tmp_path / 'p.json', regions)
        store = OnTheFlyEmbeddings(dict(type='MeanColourTeacher'), file)
        if inside:
            assert store.read(results).boxes.tolist() == [inside]
            continue
        with pytest.raises(ValueError, match=r'image 1, outside of its \(height, width\) \(40, 50'):
            store.read(results)


def test_a_pickle_is_not_run(tmp_path):
    file = tmp_path / 'proposals.pkl'
    code = f'c__builtin__\neval\n(S\'open({str(tmp_path / "run")!r}, "w")\'\ntR.'
    file.write_text(code)
    with pytest.raises(ValueError, match='not a COCO-style results file'):
        OnTheFlyEmbeddings(dict(type='MeanColourTeacher'), str(file))
    assert not (tmp_path / 'run').exists()
    with contextlib.suppress(Exception):
        pickle.loads(code.encode())
    assert (tmp_path / 'run').exists()  # it would have shown


def test_missing_proposals(tmp_path):
    with pytest.raises(FileNotFoundError, match='no proposal file at'):
        OnTheFlyEmbeddings(dict(type='MeanColourTeacher'), str(tmp_path / 'p.json'))
