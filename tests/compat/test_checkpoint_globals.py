"""Checkpoints with MMEngine's log buffers load, and nothing else does."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
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


class NotAllowed:
    """Something that a checkpoint could hide code in."""


def save(path: Path) -> None:
    buffer = HistoryBuffer([0.5, 0.25], [1, 1])
    buffer.update(np.float64(2.0))
    state = dict(message_hub=dict(log_scalars=dict(loss=buffer), scalar=np.float64(3.0)))
    torch.save(state, path)


def rename_numpy_core(path: Path) -> None:
    """Rewrite a checkpoint as if the other major version of NumPy had saved it."""
    ours = b'numpy.core.' if np.__version__.startswith('1.') else b'numpy._core.'
    other = b'numpy._core.' if np.__version__.startswith('1.') else b'numpy.core.'
    with zipfile.ZipFile(path) as archive:
        contents = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for info, content in contents.items():
            archive.writestr(info.filename, content.replace(ours, other))


@pytest.mark.parametrize('other_numpy', [False, True])
def test_message_hub_loads(tmp_path: Path, other_numpy: bool) -> None:
    path = tmp_path / 'checkpoint.pth'
    save(path)
    if other_numpy:
        rename_numpy_core(path)
    hub = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')['message_hub']
    assert hub['scalar'] == 3.0
    assert hub['log_scalars']['loss'].mean() == pytest.approx(2.75 / 3)
    assert hub['log_scalars']['loss'].statistics('max') == 2.0


def test_without_the_patch_it_does_not_load(tmp_path: Path) -> None:
    path = tmp_path / 'checkpoint.pth'
    save(path)
    code = f'import torch; torch.load({str(path)!r})'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'UnpicklingError' in done.stderr


@pytest.mark.parametrize('load', [torch.load, CheckpointLoader.load_checkpoint])
def test_anything_else_is_still_refused(tmp_path: Path, load: Callable) -> None:
    path = tmp_path / 'checkpoint.pth'
    torch.save(dict(state=NotAllowed()), path)
    with pytest.raises(UnpicklingError, match='NotAllowed'):
        load(str(path))


def test_what_onedl_allows_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / 'checkpoint.pth'
    torch.save(dict(rows=slice(1, 3), seed=np.uint32(7), ids=np.arange(3)), path)
    found = CheckpointLoader.load_checkpoint(str(path))
    assert (found['rows'], found['seed'], list(found['ids'])) == (slice(1, 3), 7, [0, 1, 2])


@pytest.mark.parametrize(
    ('owner', 'name'), [(HistoryBuffer, '__init__'), (np.ndarray, 'tofile'), (dict, 'get')]
)
def test_attributes_of_anything_else_are_refused(owner: type, name: str) -> None:
    assert checkpoint_globals.history_buffer_method(HistoryBuffer, 'mean') is HistoryBuffer.mean
    with pytest.raises(UnpicklingError, match=name):
        checkpoint_globals.history_buffer_method(owner, name)
