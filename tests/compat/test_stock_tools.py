"""MMDetection's own tools, unchanged, as the subprocesses that a user starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
from tiny_world import make_tiny_world

pytestmark = [pytest.mark.onedl, pytest.mark.slow]

TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'


def run(*command: object) -> str:
    """Run a command as in a shell with the environment activated; return its output."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PORT': port,
    }
    done = subprocess.run(
        [str(part) for part in command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the config of a tiny dataset, after two training steps with the stock tool."""
    root = tmp_path_factory.mktemp('tiny_world')
    config = make_tiny_world(root)
    run(sys.executable, TOOLS / 'train.py', config, '--work-dir', root / 'run')
    assert (root / 'run' / 'iter_2.pth').exists()
    return config


def test_test(world: Path) -> None:
    checkpoint = world.parent / 'run' / 'iter_2.pth'
    output = run(
        sys.executable, TOOLS / 'test.py', world, checkpoint, '--work-dir', world.parent / 'test'
    )
    assert 'lvis/bbox_AP' in output
    assert 'lvis/segm_AP' in output


def test_resume(world: Path) -> None:
    output = run(
        *(sys.executable, TOOLS / 'train.py', world, '--work-dir', world.parent / 'run'),
        *('--resume', '--cfg-options', 'train_cfg.max_iters=3'),
    )
    assert 'resumed epoch: 0, iter: 2' in output
    assert (world.parent / 'run' / 'iter_3.pth').exists()


def test_distributed_on_cpu(world: Path) -> None:
    work_dir = world.parent / 'distributed'
    gloo = ('--cfg-options', 'env_cfg.dist_cfg.backend=gloo')
    run('bash', TOOLS / 'dist_train.sh', world, 2, '--work-dir', work_dir, *gloo)
    output = run(
        *('bash', TOOLS / 'dist_test.sh', world, work_dir / 'iter_2.pth', 2),
        *('--work-dir', work_dir, *gloo),
    )
    assert 'lvis/bbox_AP' in output


@pytest.mark.parametrize('model', ['config', 'checkpoint'])
def test_inferencer(world: Path, model: str) -> None:
    checkpoint = world.parent / 'run' / 'iter_2.pth'
    # Without a config the inferencer finds it in the checkpoint, which it must be able to load.
    arguments = f'{str(world)!r}, ' if model == 'config' else 'None, '
    preamble = '' if model == 'config' else 'import mmdet_vild; '
    code = (
        f'{preamble}from mmdet.apis import DetInferencer; '
        f"inferencer = DetInferencer({arguments}weights={str(checkpoint)!r}, device='cpu'); "
        f'result = inferencer({str(world.parent / "000000000001.png")!r}, no_save_vis=True); '
        "print('found', len(result['predictions'][0]['scores']))"
    )
    assert 'found' in run(sys.executable, '-c', code)
