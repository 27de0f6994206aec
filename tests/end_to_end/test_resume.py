"""A training that is killed goes on."""

import os
import signal
from pathlib import Path

import pytest
from stock_world import StockWorld

pytestmark = pytest.mark.slow

KILLER = """
import os
import signal
from pathlib import Path

from mmengine.runner import Runner

save_checkpoint = Runner.save_checkpoint


def save_and_die(self, out_dir, filename, *args, **kwargs):
    if filename == 'iter_3.pth':
        Path(out_dir, filename).write_bytes(b'half a checkpoint')
        os.kill(os.getpid(), signal.SIGKILL)
    save_checkpoint(self, out_dir, filename, *args, **kwargs)


Runner.save_checkpoint = save_and_die
"""


def test_resumes_after_a_kill_while_saving(world: StockWorld, tmp_path: Path) -> None:
    """The worst moment: the third checkpoint is half written."""
    (tmp_path / 'killer.py').write_text(KILLER)
    deadly = tmp_path / 'deadly.py'
    deadly.write_text(
        f'_base_ = {str(world.config("vild"))!r}\n'
        "custom_imports = dict(imports=['mmdet_vild', 'killer'])\n"
    )
    four = 'train_cfg.max_iters=4'
    killed = world.train(
        *(str(deadly), 'resumed', four),
        status=-signal.SIGKILL,
        env={'PYTHONPATH': f'{tmp_path}:{os.environ.get("PYTHONPATH", "")}'},
    )
    assert 'Iter(train) [3/4]' in killed.stdout
    folder = world.work / 'resumed'
    assert (folder / 'last_checkpoint').read_text().endswith('iter_2.pth')

    resumed = world.train('vild', 'resumed', four, arguments=['--resume'])
    assert 'resumed epoch: 0, iter: 2' in resumed.stdout
    assert [line['step'] for line in world.logged('resumed')[:-1]] == [3, 4]
    assert (folder / 'last_checkpoint').read_text().endswith('iter_4.pth')
    assert (folder / 'iter_4.pth').exists()
