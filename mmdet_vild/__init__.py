"""ViLD, open-vocabulary detection by distillation, as MMDetection components.

Importing the package registers every component, so a config needs only
``custom_imports = dict(imports=['mmdet_vild'])``.
"""

from pathlib import Path

from .compat import apply_compat
from .version import __version__

apply_compat()

# ruff: isort: split
# The compatibility patches come first: everything below imports mmdet.
from . import (  # noqa: E402, F401
    authors_network,
    datasets,
    embedding_store,
    evaluation,
    extraction,
    hooks,
    models,
    teacher,
    visualization,
    vocabulary,
)
from .safe_loading import load_detector  # noqa: E402

__all__ = ['__version__', 'config_path', 'load_detector']


def config_path(name: str = '') -> str:
    """The absolute path of a config that travels with the package.

    It is in the source tree of an editable install, and in ``mmdet_vild/.mim/configs`` of a wheel.

    Args:
        name: Path of a config file or folder inside ``configs/``, for example
            ``'vild/vild_r50_fpn.py'``; empty for the folder itself.

    Raises:
        FileNotFoundError: There is no such config.
    """
    package = Path(__file__).resolve().parent
    root = package / '.mim' / 'configs'
    if not root.is_dir():
        root = package.parent / 'configs'
    path = root / name
    if not path.exists():
        known = sorted(str(p.relative_to(root)) for p in root.glob('[!_]*/*.py'))
        raise FileNotFoundError(
            f'No config {name!r} in {root}. Found: {", ".join(known) or "none"}.'
        )
    return str(path)
