"""The inferencer's results have the words of detections."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

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


def test_samples_without_detections() -> None:
    assert DetInferencer.pred2dict(SimpleNamespace(num_predicted_imgs=0), DetDataSample()) == {}
