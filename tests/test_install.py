"""Both ways to install the package, each into an environment of its own, without a network."""

import filecmp
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import mmdet
import pytest

import mmdet_vild

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    *('mmdet_vild', 'configs', 'tools', 'build_backend'),
    *('setup.cfg', 'pyproject.toml', 'model-index.yml'),
)

#: Prints where the configs are.
FIND = 'import mmdet_vild; print(mmdet_vild.config_path("mini_lvis"))'
#: Loads a config of each folder, builds the teacher that comes with a config of its own, and runs a
#: tool of ours.
LOAD = """
import runpy, sys
from pathlib import Path
from mmengine.config import Config
import mmdet_vild

configs = Path(mmdet_vild.config_path())
for path in {path.parent: path for path in configs.glob('[!_]*/*.py')}.values():
    # ConvNeXt is in a package that need not be there
    config = Config.fromfile(path, import_custom_modules='convnext' not in path.name)
    assert config.model.type and config.test_evaluator.type, path
mmdet_vild.teacher.OpenCLIPTeacher('mini-clip')
print('loaded', len({path.parent for path in configs.glob('[!_]*/*.py')}), 'kinds')
sys.argv = ['encode_vocabulary.py', '--help']
runpy.run_path(str(configs.parent / 'tools' / sys.argv[0]), run_name='__main__')
"""


def run(*command: object, cwd: Path) -> str:
    """Run a command; return its output."""
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a copy of the source tree: building writes into it."""
    source = tmp_path / 'source'
    source.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    return source


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Return the interpreter of a new environment that sees this one's packages, but not ours."""
    venv.create(tmp_path / 'venv', with_pip=False)
    python = tmp_path / 'venv' / 'bin' / 'python'
    site_packages = run(
        python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))', cwd=tmp_path
    ).strip()
    # A plain path, not a site folder: the .pth files of this environment do not run.
    paths = dict.fromkeys([sysconfig.get_path('purelib'), str(Path(mmdet.__file__).parents[1])])
    Path(site_packages, 'parent.pth').write_text('\n'.join(paths))
    return python


@pytest.mark.parametrize(
    'editable',
    [
        pytest.param(False, id='wheel'),
        # What starts with Python is the same file in both.
        pytest.param(True, id='editable', marks=pytest.mark.onedl),
    ],
)
def test_install_use_uninstall(editable: bool, source: Path, python: Path, tmp_path: Path) -> None:
    pip = (sys.executable, '-m', 'pip', '--python', python)
    options = ('--no-deps', '--no-index', '--no-build-isolation', *(['-e'] if editable else []))
    run(*pip, 'install', *options, source, cwd=tmp_path)

    # A stock tool imports mmcv.ops before it reads a config, so before it can import mmdet_vild.
    tool = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'test.py'
    assert 'usage: test.py' in run(python, tool, '--help', cwd=tmp_path)

    path = Path(run(python, '-c', FIND, cwd=tmp_path).splitlines()[-1])
    expected = source / 'configs' if editable else Path('mmdet_vild', '.mim', 'configs')
    assert path.is_dir()
    assert str(expected / 'mini_lvis') in str(path)
    assert list(path.glob('vild_*.py'))

    site_packages = next((tmp_path / 'venv' / 'lib').glob('python*/site-packages'))
    if not editable:
        shutil.rmtree(source)
        check_wheel(site_packages / 'mmdet_vild', python, tmp_path)

    run(*pip, 'uninstall', '-y', 'mmdet_vild', cwd=tmp_path)
    left = [p.name for p in site_packages.iterdir() if 'vild' in p.name]
    assert not left


def check_wheel(package: Path, python: Path, elsewhere: Path) -> None:
    """It holds all that the source tree does, as it is there, and works away from it."""
    for found, expected in (
        (package / '.mim' / 'configs', ROOT / 'configs'),
        (package / '.mim' / 'tools', ROOT / 'tools'),
        (package, ROOT / 'mmdet_vild'),
    ):
        _, differing, missing = filecmp.cmpfiles(expected, found, files(expected), shallow=False)
        assert not (differing or missing)
    assert (package / 'teacher/model_configs/mini-clip.json').is_file()
    assert (package / '.mim' / 'model-index.yml').is_file()

    printed = run(python, '-c', LOAD, cwd=elsewhere)
    folders = {path.parent for path in ROOT.glob('configs/[!_]*/*.py')}
    assert f'loaded {len(folders)} kinds' in printed and 'usage: encode_vocabulary.py' in printed


def files(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    ]


def test_config_path_names_what_there_is() -> None:
    assert Path(mmdet_vild.config_path()).is_dir()
    with pytest.raises(FileNotFoundError, match=r"'vild/none.py'.*vild_lite0_fpn_mini-lvis.py"):
        mmdet_vild.config_path('vild/none.py')
