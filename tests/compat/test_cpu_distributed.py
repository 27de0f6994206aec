"""The patches for distributed runs on CPU act only there (end to end: tests/end_to_end)."""

import os
import subprocess
import sys

import mmengine.dist.utils as dist_utils
import pytest
from mmengine.model import MMDistributedDataParallel

import mmdet_vild  # noqa: F401
from mmdet_vild.compat import cpu_distributed

pytestmark = pytest.mark.onedl


@pytest.fixture
def unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (dist_utils, '_init_dist_pytorch'), (dist_utils, '_init_dist_slurm')
    for owner, name in (*names, (MMDistributedDataParallel, '__init__')):
        function = getattr(owner, name)
        monkeypatch.setattr(owner, name, getattr(function, '__wrapped__', function))


def test_nothing_is_patched_on_an_accelerator(unpatched, monkeypatch) -> None:
    monkeypatch.setattr(cpu_distributed, 'get_device', lambda: 'cuda')
    cpu_distributed.apply()
    assert not hasattr(dist_utils._init_dist_pytorch, '__wrapped__')
    assert not hasattr(MMDistributedDataParallel.__init__, '__wrapped__')


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm'])
def test_gloo_starts_without_a_device_and_nccl_as_before(unpatched, monkeypatch, launcher) -> None:
    """MMEngine's own functions run, of which gloo's select no device."""
    selected, started = [], []
    monkeypatch.setattr(cpu_distributed, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(cpu_distributed.atexit, 'register', lambda function: None)
    monkeypatch.setattr(dist_utils.torch.cuda, 'set_device', selected.append)
    monkeypatch.setattr(dist_utils.subprocess, 'getoutput', lambda command: 'node1')
    monkeypatch.setattr(
        dist_utils.torch_dist, 'init_process_group', lambda backend, **_: started.append(backend)
    )
    for name in ('RANK', 'LOCAL_RANK', 'SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'):
        monkeypatch.setenv(name, '3')
    monkeypatch.setenv('SLURM_NODELIST', 'node[1-2]')
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'WORLD_SIZE'):  # which it sets
        monkeypatch.setenv(name, '1')
    cpu_distributed.apply()
    for backend in ('gloo', 'nccl'):
        dist_utils.init_dist(launcher, backend)
    assert started == ['gloo', 'nccl'] and selected == [3]
    assert dist_utils.torch.cuda.set_device == selected.append


def test_applying_twice_patches_once(unpatched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_distributed, 'get_device', lambda: 'cpu')
    cpu_distributed.apply()
    once = dist_utils._init_dist_pytorch
    cpu_distributed.apply()
    assert dist_utils._init_dist_pytorch is once


def test_gloo_ends_before_the_interpreter_does() -> None:
    """Its threads must not need the interpreter any more when that is being torn down."""
    code = (
        'import atexit, weakref, torch, torch.distributed as dist\n'
        'import mmdet_vild\n'
        'alive = []\n'
        "atexit.register(lambda: print('still there:', dist.is_initialized(), *alive))\n"
        'from mmengine.dist import init_dist\n'
        "init_dist('pytorch', 'gloo', init_method='tcp://127.0.0.1:0', rank=0, world_size=1)\n"
        "print('started:', dist.is_initialized())\n"
        'model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))\n'
        'model.runner = [model]\n'  # a cycle, as MMEngine's runner and its model are in one
        "weakref.finalize(model, alive.append, 'freed').atexit = False\n"
        'del model\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'LOCAL_RANK': '0', 'RANK': '0'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ['started: True', 'still there: False freed']
