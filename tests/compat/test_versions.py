"""A missing or unsupported package is reported with what to install."""

import configparser
import importlib.util
from pathlib import Path

import pytest

import mmdet_vild  # noqa: F401
from mmdet_vild.compat import versions

pytestmark = pytest.mark.onedl

ROOT = Path(__file__).parents[2]


def test_installed_packages_are_supported() -> None:
    versions.check_versions()


@pytest.mark.parametrize('name', ['torchvision', 'mmengine', 'mmcv', 'mmdet'])
def test_missing_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda n, *a: None if n == name else find_spec(n, *a)
    )
    with pytest.raises(ImportError, match=rf'needs {name}, .*"mmdet==3.3.0"'):
        versions.check_versions()


def test_the_advice_names_the_packages_of_setup_cfg() -> None:
    """mmdet_vild itself is not on PyPI, so its extras would help nobody."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    extras = setup['options.extras_require']
    for family in ('openmmlab', 'onedl'):
        for requirement in extras[family].split('\n')[1:]:
            assert f'"{requirement.replace(" ", "")}"' in versions._HOW_TO


@pytest.mark.parametrize('found', ['2.28.0', '2.0.0rc4', '3.0.0'])
def test_unsupported_version(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read_version = versions._read_version
    monkeypatch.setattr(
        versions, '_read_version', lambda n: found if n == 'mmdet' else read_version(n)
    )
    with pytest.raises(ImportError, match=rf'mmdet >= 3.3.0, < 4.0, but found mmdet {found}'):
        versions.check_versions()


@pytest.mark.parametrize(
    ('version', 'numbers'),
    [
        ('3.3.0', (3, 3, 0)),
        ('2.1', (2, 1, 0)),
        ('0.10.7rc4', (0, 10, 7)),
        ('2.3.6.dev1', (2, 3, 6)),
    ],
)
def test_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert versions._numbers(version) == numbers
