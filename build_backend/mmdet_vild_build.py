"""Build backend: setuptools, and two things its wheels cannot express.

A PEP 517 backend inside the source tree, named in ``pyproject.toml``. It lets setuptools
build the wheel from ``setup.cfg`` and then adds

* a ``.pth`` file and the finder it imports when Python starts, to the wheel and to the
  editable wheel alike (why: ``mmdet_vild/compat/mmcv_ext_finder.py``). They belong
  to the package, so ``pip uninstall`` removes them;
* ``configs/`` and ``tools/`` as ``mmdet_vild/.mim/``, where MMDetection's wheel has its own.
  An editable install uses those of the source tree.
"""

import base64
import hashlib
import os
import zipfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

ROOT = Path(__file__).resolve().parent.parent
FINDER = ROOT / 'mmdet_vild' / 'compat' / 'mmcv_ext_finder.py'


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Build a wheel with the start-up file, the configs, the tools and the model index."""
    name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    files = startup_files()
    for name_in_root in ('configs', 'tools', 'model-index.yml'):
        for path in sorted([ROOT / name_in_root, *(ROOT / name_in_root).rglob('*')]):
            if path.is_file() and '__pycache__' not in path.parts:
                files[f'mmdet_vild/.mim/{path.relative_to(ROOT).as_posix()}'] = path.read_bytes()
    add_to_wheel(Path(wheel_directory, name), files)
    return name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build an editable wheel with the start-up file."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    add_to_wheel(Path(wheel_directory, name), startup_files())
    return name


def startup_files():
    """Return the names and contents of what runs when Python starts."""
    finder = FINDER.read_text(encoding='utf-8')
    return {
        'mmdet_vild_mmcv_ext.pth': b'import _mmdet_vild_mmcv_ext\n',
        '_mmdet_vild_mmcv_ext.py': (finder + '\n\napply()\n').encode(),
    }


def add_to_wheel(path, files):
    """Add files to a wheel and to its RECORD (PEP 427)."""
    temporary = path.with_suffix('.tmp')
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(temporary, 'w') as new:
        for info in old.infolist():
            if info.filename.endswith('.dist-info/RECORD'):
                record_info, record = info, old.read(info).decode()
            else:
                new.writestr(info, old.read(info))
        for name, content in files.items():
            info = zipfile.ZipInfo(name, record_info.date_time)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o100644 << 16
            new.writestr(info, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=')
            record += f'{name},sha256={digest.decode()},{len(content)}\n'
        new.writestr(record_info, record)
    os.replace(temporary, path)
