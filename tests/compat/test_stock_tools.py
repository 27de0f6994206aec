"""MMDetection's own tools and a stock Mask R-CNN, as the subprocesses that a user starts.

Distributed runs are tested in ``tests/end_to_end``, with ViLD.
"""

import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
from tiny_world import make_tiny_world

pytestmark = [pytest.mark.onedl, pytest.mark.slow]

TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'


def run(*command: object) -> str:
    """Run a command; return its output."""
    done = subprocess.run(
        [str(part) for part in command],
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
