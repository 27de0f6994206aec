"""The inferencer's results have the words of detections."""

import json
from pathlib import Path
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from PIL import Image

import mmdet_vild  # noqa: F401

pytestmark = pytest.mark.onedl


@pytest.mark.parametrize('meta', [dict(img_path='pictures/table.jpg'), {}])
def test_they_are_returned_and_saved(meta: dict, tmp_path: Path) -> None:
    """In the file that mmdet writes for the picture, which otherwise stays as it is."""
    inferencer = SimpleNamespace(num_predicted_imgs=3)
    found = dict(labels=torch.tensor([1, 0]), scores=torch.rand(2), bboxes=torch.rand(2, 4))
    results = []
    for fields in ({}, dict(label_names=['mug', 'cat'])):
        sample = DetDataSample(pred_instances=InstanceData(**found, **fields), metainfo=meta)
        folder = tmp_path / str(len(fields))
        results.append(DetInferencer.pred2dict(inferencer, sample, str(folder)))
        (file,) = (folder / 'preds').iterdir()
        assert json.loads(file.read_text()) == results[-1]
        assert file.stem == ('table' if meta else str(3 + len(fields)))
    plain, named = results
    assert named == plain | dict(label_names=['mug', 'cat']) and 'label_names' not in plain
    sample.set_metainfo(dict(img_path=None))  # as of an array
    assert DetInferencer.pred2dict(inferencer, sample) == named


@pytest.mark.parametrize(('highest', 'bits'), [(255, np.uint8), (65535, np.uint16)])
def test_a_map_is_returned_and_saved(tmp_path: Path, highest: int, bits: type) -> None:
    """With its words, beside detections or alone."""
    labels = torch.tensor([[[0, 1, highest], [1, 1, 0]]])
    sem_seg = PixelData(sem_seg=labels, metainfo=dict(label_names=['grass', 'sky']))
    sample = DetDataSample(pred_sem_seg=sem_seg, metainfo=dict(img_path='pictures/field.jpg'))
    inferencer = SimpleNamespace(num_predicted_imgs=3)
    found = DetInferencer.pred2dict(inferencer, sample)
    np.testing.assert_array_equal(found.pop('sem_seg'), labels[0])
    assert found == dict(sem_seg_names=['grass', 'sky'])
    one = dict(labels=torch.tensor([1]), scores=torch.rand(1), label_names=['cat'])
    sample.pred_instances = InstanceData(**one)
    found = DetInferencer.pred2dict(inferencer, sample, str(tmp_path))
    assert found['label_names'] == ['cat'] and found['sem_seg_names'] == ['grass', 'sky']
    path = tmp_path / 'preds' / 'field_sem_seg.png'
    assert found['sem_seg_path'] == str(path)
    assert json.loads((tmp_path / 'preds' / 'field.json').read_text()) == found
    saved = np.array(Image.open(path))
    np.testing.assert_array_equal(saved, labels[0])
    assert mmcv.imread(str(path), 'unchanged').dtype == bits


@pytest.mark.parametrize(
    ('texts', 'count', 'message'),
    [
        (
            ['cat', 'dog'],
            1,
            r"found 2 texts for 1 picture, \['cat', 'dog'\]; .*: of one picture, "
            r"texts=\[\['cat', 'dog'\]\]$",
        ),
        (['cat', 'dog', 'mug'], 2, 'found 3 texts for 2 pictures'),
        ([], 1, r"found 0 texts .* texts=\[\['cat', 'dog'\]\]$"),
        (5, 1, 'found no list of texts for 1 picture, 5; texts is'),
        ({'cat': 1}, 1, 'found no list of texts for 1 picture'),
    ],
)
def test_texts_of_other_pictures(texts: object, count: int, message: str) -> None:
    inferencer = object.__new__(DetInferencer)
    with pytest.raises(ValueError, match=message):
        inferencer(['table.jpg'] * count, texts=texts)


def test_texts_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def preprocess(self, inputs, **options):
        asked.extend((each['img_path'], each['text']) for each in inputs)
        return []

    monkeypatch.setattr(DetInferencer, 'preprocess', preprocess)
    inferencer = object.__new__(DetInferencer)
    inferencer.show_progress = False
    inferencer('a.jpg', texts=[['cat', 'dog']])
    inferencer(['a.jpg', 'b.jpg'], texts='cat . dog')
    inferencer(['a.jpg', 'b.jpg'], texts=('cat', 'dog'))
    assert asked == [
        ('a.jpg', ['cat', 'dog']),
        *(('a.jpg', 'cat . dog'), ('b.jpg', 'cat . dog')),
        *(('a.jpg', 'cat'), ('b.jpg', 'dog')),
    ]


def test_samples_without_detections() -> None:
    assert DetInferencer.pred2dict(SimpleNamespace(num_predicted_imgs=0), DetDataSample()) == {}
