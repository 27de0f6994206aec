"""A missing or unsupported package is reported with what to install."""

import configparser
import importlib.util
from pathlib import Path

import pytest

import mmdet_vild  # noqa: F401
from mmdet_vild.compat import versions

pytestmark = pytest.mark.onedl


@pytest.mark.parametrize('name', ['torchvision', 'mmengine', 'mmcv', 'mmdet'])
def test_missing_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    versions.check_versions()
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda n, *a: None if n == name else find_spec(n, *a)
    )
    with pytest.raises(ImportError, match=rf'needs {name}, .*"mmdet==3.3.0"'):
        versions.check_versions()


def test_the_advice_names_the_packages_of_setup_cfg() -> None:
    """mmdet_vild itself is not on PyPI, so its extras would help nobody."""
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / 'setup.cfg')
    extras = setup['options.extras_require']
    for family in ('openmmlab', 'onedl'):
        for requirement in extras[family].split('\n')[1:]:
            assert f'"{requirement.replace(" ", "")}"' in versions._HOW_TO


@pytest.mark.parametrize(
    ('found', 'supported'),
    [('3.3.0', True), ('3.3', True), ('3.10.2.dev1', True)]
    + [('2.28.0', False), ('3.0.0rc6', False), ('4.0.0', False)],
)
def test_versions(found: str, supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    read = versions._read_version
    monkeypatch.setattr(versions, '_read_version', lambda n: found if n == 'mmdet' else read(n))
    if supported:
        versions.check_versions()
    else:
        with pytest.raises(ImportError, match=rf'mmdet >= 3.3.0, < 4.0, but found mmdet {found}'):
            versions.check_versions()
