"""A detector from a stranger's checkpoint: its weights, and nothing that it would have executed."""

from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from mmdet.apis import inference_detector
from small_detector import SmallDetector

from mmdet_vild import load_detector

pytestmark = pytest.mark.onedl


class Code:
    """Written into a checkpoint, it makes a file where the checkpoint is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return open, (str(self.marker), 'w')


def test_load_detector(tmp_path: Path) -> None:
    small, marker = SmallDetector(tmp_path, 'vild'), tmp_path / 'executed'
    expected = small.predict(small.sample()).pred_instances
    config, checkpoint = tmp_path / 'config.py', tmp_path / 'checkpoint.pth'
    small.config.dump(config)
    code = f'marker = open({str(marker)!r}, "w").name'
    meta = dict(cfg=code, config=code, dataset_meta=dict(CLASSES=('cat',)))
    torch.save(dict(state_dict=small.model.state_dict(), meta=meta), checkpoint)
    for named in (str(config), small.config):
        detector = load_detector(named, checkpoint, 'cpu')
        assert detector.dataset_meta['classes'] == small.text.names
        found = inference_detector(detector, small.image).pred_instances
        torch.testing.assert_close(found.scores, expected.scores)
        assert len(found) and not marker.exists()

    torch.save(dict(state_dict=small.model.state_dict(), meta=Code(marker)), checkpoint)
    with pytest.raises(UnpicklingError):
        load_detector(config, checkpoint, 'cpu')
    for missing in (tmp_path / 'none.pth', 'https://192.0.2.1/checkpoint.pth'):
        with pytest.raises(FileNotFoundError, match='there is no checkpoint at'):
            load_detector(config, missing, 'cpu')
    assert not marker.exists()
    torch.load(checkpoint, weights_only=False)  # would have
    assert marker.exists()
