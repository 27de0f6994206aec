"""Workers of a data loader end with the run that they load for."""

import os
import signal
import subprocess
import sys
import time

import pytest

#: Samples that do not fit into a pipe, of which nothing is asked for any more.
RUN = """
import sys
import time

import numpy as np
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import Dataset

import mmdet_vild


class Numbers(Dataset):
    def __len__(self):
        return 1000

    def __getitem__(self, index):
        return np.zeros(200_000, np.uint8)


if __name__ == '__main__':
    set_multi_processing(sys.argv[1])
    sampler = dict(type='DefaultSampler', shuffle=False)
    loader = dict(dataset=Numbers(), sampler=sampler, batch_size=2, num_workers=1)
    batches = iter(Runner.build_dataloader(loader, seed=0))
    next(batches)
    time.sleep(1)
    print(batches._workers[0].pid, flush=True)
    time.sleep(100)
"""


def lives(pid: str) -> bool:
    done = subprocess.run(['ps', '-o', 'stat=', '-p', pid], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ('', 'Z')


@pytest.mark.parametrize(
    'method',
    [
        pytest.param('fork', marks=pytest.mark.onedl),
        pytest.param('spawn', marks=pytest.mark.onedl),
        'forkserver',  # whose workers import as spawned ones do
    ],
)
def test_workers_of_a_killed_run_end(tmp_path, method):
    script = tmp_path / 'run.py'
    script.write_text(RUN)
    command = [sys.executable, str(script), method]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        worker = next(line.strip() for line in run.stdout if line.strip().isdigit())
        alive = lives(worker)
        run.kill()
    until = time.monotonic() + 10
    while (left := lives(worker)) and time.monotonic() < until:
        time.sleep(0.2)
    if left:
        os.kill(int(worker), signal.SIGKILL)
    assert alive and not left
