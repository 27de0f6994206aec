"""Checkpoints with MMEngine's log buffers load, and nothing else does."""

import subprocess
import sys
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

import mmdet_vild  # noqa: F401
from mmdet_vild.compat import checkpoint_globals

pytestmark = pytest.mark.onedl


def rename_numpy_core(path: Path) -> None:
    """Rewrite a checkpoint as if the other major version of NumPy had saved it."""
    cores = b'numpy.core.', b'numpy._core.'
    ours, other = cores if np.__version__.startswith('1.') else cores[::-1]
    with zipfile.ZipFile(path) as archive:
        contents = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for info, content in contents.items():
            archive.writestr(info.filename, content.replace(ours, other))


@pytest.mark.parametrize('other_numpy', [False, True])
def test_a_message_hub_loads(tmp_path: Path, other_numpy: bool) -> None:
    """And what OneDL's mmengine allows besides; but not without the patch."""
    buffer, path = HistoryBuffer([0.5, 0.25], [1, 1]), tmp_path / 'checkpoint.pth'
    buffer.update(np.float64(2.0))
    others = [slice(1, 3), np.uint32(7), np.float64(3.0)]
    torch.save(dict(loss=buffer, others=others, ids=np.arange(3)), path)
    if other_numpy:
        rename_numpy_core(path)
    found = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    assert found['loss'].mean() == pytest.approx(2.75 / 3)
    assert found['loss'].statistics('max') == 2.0
    assert found['others'] == others and list(found['ids']) == [0, 1, 2]
    code = f'import torch; torch.load({str(path)!r})'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'UnpicklingError' in done.stderr


@pytest.mark.parametrize('load', [torch.load, CheckpointLoader.load_checkpoint])
def test_anything_else_is_still_refused(tmp_path: Path, load) -> None:
    torch.save(dict(state=Path('a')), tmp_path / 'checkpoint.pth')
    with pytest.raises(UnpicklingError, match='Path'):
        load(str(tmp_path / 'checkpoint.pth'))


@pytest.mark.parametrize(
    ('owner', 'name'), [(HistoryBuffer, '__init__'), (np.ndarray, 'tofile'), (dict, 'get')]
)
def test_attributes_of_anything_else_are_refused(owner: type, name: str) -> None:
    assert checkpoint_globals.history_buffer_method(HistoryBuffer, 'mean') is HistoryBuffer.mean
    with pytest.raises(UnpicklingError, match=name):
        checkpoint_globals.history_buffer_method(owner, name)
