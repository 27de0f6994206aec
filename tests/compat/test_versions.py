"""A missing or unsupported package is reported with what to install."""

import importlib.util

import pytest

import mmdet_vild  # noqa: F401
from mmdet_vild.compat import versions

pytestmark = pytest.mark.onedl


def test_installed_packages_are_supported() -> None:
    versions.check_versions()


@pytest.mark.parametrize('name', ['torchvision', 'mmengine', 'mmcv', 'mmdet'])
def test_missing_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda n, *a: None if n == name else find_spec(n, *a)
    )
    with pytest.raises(ImportError, match=rf'needs {name}, .*mmdet_vild\[openmmlab\]'):
        versions.check_versions()


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
