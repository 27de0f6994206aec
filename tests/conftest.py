"""Threads, property tests, and what the machine must have for some of the tests."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec

# Before anything imports torch: two busy-waiting thread pools on two cores are slower than one.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('MPLBACKEND', 'Agg')

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile('no_deadline', deadline=None)
settings.load_profile('no_deadline')


def _missing_gpu() -> str:
    import torch

    return '' if torch.cuda.is_available() else 'no CUDA device'


def _missing_path(variable: str, what: str) -> str:
    path = os.environ.get(variable)
    if not path:
        return f'{variable} is not set; it names {what}'
    if not os.path.exists(path):
        pytest.fail(f'{variable} must name {what}, but there is no {path}')
    return ''


def find_browser() -> str | None:
    """The browser that the tests of the web page drive."""
    names = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
    return os.environ.get('VILD_BROWSER') or next(filter(None, map(shutil.which, names)), None)


def _missing_onnx() -> str:
    for package in ('onnx', 'onnxruntime'):
        if find_spec(package) is None:
            return f'{package} is not installed; pip install -e ".[onnx]"'
    return ''


def _missing_browser() -> str:
    for package in ('gradio', 'playwright'):
        if find_spec(package) is None:
            return f'{package} is not installed; pip install -e ".[web-test]"'
    if os.environ.get('VILD_BROWSER'):
        return _missing_path('VILD_BROWSER', 'Chromium or Chrome, a file')
    return '' if find_browser() else 'no Chromium or Chrome on PATH; VILD_BROWSER may name one'


# marker: a function that returns why its tests cannot run here, or ''. Who sets a variable wants
# these tests to run: a path that does not exist fails.
REQUIREMENTS = {
    'browser': _missing_browser,
    'gpu': _missing_gpu,
    'onnx': _missing_onnx,
    'weights': lambda: _missing_path('VILD_CLIP_WEIGHTS', "OpenAI's CLIP ViT-B/32, a file"),
    'dataset': lambda: _missing_path('VILD_LVIS_DIR', 'the folder of LVIS v1'),
    'parity': lambda: _missing_path('VILD_PARITY_DIR', "the folder with the authors' numbers"),
    'tensorflow': lambda: _missing_path('VILD_TF_PYTHON', 'a Python that has TensorFlow'),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names something this machine does not have."""
    for marker, missing in REQUIREMENTS.items():
        if item.get_closest_marker(marker) and (reason := missing()):
            pytest.skip(reason)


@pytest.fixture(autouse=True, scope='module')
def mmdet_scope() -> Iterator[None]:
    """As in the stock tools: names in configs are looked up among mmdet's."""
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='session')
def browser_path() -> str:
    """The browser; for tests with the marker ``browser``."""
    return find_browser()
