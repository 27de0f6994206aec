"""Check that one supported family of packages is installed.

``mmdet``, ``mmengine`` and ``mmcv`` come from OpenMMLab or from its maintained OneDL fork, under
the same names. ``setup.cfg`` cannot require either without overwriting the other.
"""

import importlib
import importlib.util
import re

# import name: (first supported version, first unsupported version)
SUPPORTED = {
    'mmengine': ('0.10.7', '1.0'),
    'mmcv': ('2.1.0', '3.0'),
    'mmdet': ('3.3.0', '4.0'),
}

_HOW_TO = (
    "Install one of the two families of packages, not both in one environment: OpenMMLab's with "
    '`pip install torchvision "mmdet==3.3.0" "mmengine>=0.10.7,<0.11" "mmcv-lite>=2.1.0,<2.2"`, or '
    'OneDL\'s with `pip install torchvision "onedl-mmdetection>=3.5.1,<3.6" '
    '"onedl-mmengine>=0.10.12,<0.11" "onedl-mmcv>=2.3.6,<2.4"`. See docs/install.md.'
)


def check_versions() -> None:
    """Refuse to go on without all packages in supported versions.

    Raises:
        ImportError: A package is missing or has an unsupported version.
    """
    for name in ('torchvision', *SUPPORTED):
        if importlib.util.find_spec(name) is None:
            raise ImportError(f'mmdet_vild needs {name}, which is not installed. {_HOW_TO}')
    for name, (first, end) in SUPPORTED.items():
        found = _read_version(name)
        if not _numbers(first) <= _numbers(found) < _numbers(end):
            raise ImportError(
                f'mmdet_vild needs {name} >= {first}, < {end}, but found {name} {found}. {_HOW_TO}'
            )


def _numbers(version: str) -> tuple[int, ...]:
    """The release numbers of a version: ``'2.1.0rc4'`` is ``(2, 1, 0)``."""
    numbers = tuple(int(part) for part in re.match(r'\d+(?:\.\d+)*', version)[0].split('.'))
    return (*numbers, 0, 0)[:3]


def _read_version(name: str) -> str:
    """``__version__`` of a package of either family."""
    try:
        return importlib.import_module(f'{name}.version').__version__
    except AssertionError as error:  # mmdet 3.3.0 checks mmengine and mmcv with asserts
        raise ImportError(f'{error} {_HOW_TO}') from error
