"""A training step and a test of every system of the benchmark, on a GPU that is not there."""

import argparse

import does_it_run
import mmcv.ops.multi_scale_deform_attn as deform_attn
import pytest
import torch
from does_it_run import SYSTEMS
from pretend_gpu import PretendGPU

#: Crops are resized in half precision on a GPU.
CLOSE = 0.01


@pytest.fixture(scope='module')
def batch(tmp_path_factory) -> tuple[str, dict]:
    """The folder of words and teacher, and a batch."""
    folder = str(tmp_path_factory.mktemp('systems'))
    return folder, does_it_run.mini_batch(argparse.Namespace(tiny=True), folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'what'), SYSTEMS, ids=[f'{config[:-3]}-{what}' for config, what in SYSTEMS]
)
def test_system(batch, monkeypatch, config, what):
    """No devices are mixed, in single precision and in a lower one, and a CPU finds the same."""
    folder, batch = batch
    model = does_it_run.mini(config, folder)
    for dtype in ('float32', 'bfloat16'):
        expected = does_it_run.step(model, batch, what, 'cpu', dtype)
        with PretendGPU() as gpu, monkeypatch.context() as patch:
            patch.setattr(deform_attn, 'IS_CUDA_AVAILABLE', True)
            found = does_it_run.step(model, batch, what, 'cuda', dtype)
        assert gpu.uploads and torch.tensor(found).isfinite().all()
        assert does_it_run.verdict(found, expected, CLOSE) == 'ok', (dtype, found, expected)
