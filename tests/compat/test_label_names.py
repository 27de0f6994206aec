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


def sample(**fields) -> DetDataSample:
    """Two detections."""
    found = InstanceData(
        labels=torch.tensor([1, 0]),
        scores=torch.tensor([0.75, 0.5]),
        bboxes=torch.tensor([[0.0, 1, 2, 3], [4, 5, 6, 7]]),
        **fields,
    )
    return DetDataSample(pred_instances=found)


@pytest.mark.parametrize('meta', [dict(img_path='pictures/table.jpg'), {}])
def test_they_are_returned_and_saved(meta: dict, tmp_path: Path) -> None:
    """In the file that mmdet writes for the picture, which otherwise stays as it is."""
    inferencer = SimpleNamespace(num_predicted_imgs=3)
    results = []
    for fields in ({}, dict(label_names=['mug', 'cat'])):
        given = sample(**fields)
        given.set_metainfo(meta)
        folder = tmp_path / str(len(fields))
        result = DetInferencer.pred2dict(inferencer, given, str(folder))
        (file,) = (folder / 'preds').iterdir()
        assert json.loads(file.read_text()) == result
        assert file.stem == ('table' if meta else str(3 + len(fields)))
        results.append(result)
    plain, named = results
    assert named == plain | dict(label_names=['mug', 'cat']) and 'label_names' not in plain
    given.set_metainfo(dict(img_path=None))  # as of an array
    assert DetInferencer.pred2dict(inferencer, given) == named


def test_samples_without_detections() -> None:
    assert DetInferencer.pred2dict(SimpleNamespace(num_predicted_imgs=0), DetDataSample()) == {}
