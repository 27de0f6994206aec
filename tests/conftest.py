"""Threads, and what the machine must have for some of the tests."""

import os

# Before anything imports torch: two busy-waiting thread pools on two cores are slower than one.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('MPLBACKEND', 'Agg')

import pytest


def _missing_gpu() -> str:
    import torch

    return '' if torch.cuda.is_available() else 'no CUDA device'


def _missing_path(variable: str, what: str) -> str:
    path = os.environ.get(variable, '')
    return '' if path and os.path.exists(path) else f'{variable} does not name {what}'


# marker: a function that returns why its tests cannot run here, or ''
REQUIREMENTS = {
    'gpu': _missing_gpu,
    'weights': lambda: _missing_path('VILD_CLIP_WEIGHTS', 'a CLIP checkpoint file'),
    'dataset': lambda: _missing_path('VILD_LVIS_DIR', 'a folder with LVIS v1'),
    'parity': lambda: _missing_path('VILD_PARITY_DIR', "a folder with the authors' numbers"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names something this machine does not have."""
    for marker, missing in REQUIREMENTS.items():
        if item.get_closest_marker(marker) and (reason := missing()):
            pytest.skip(reason)
