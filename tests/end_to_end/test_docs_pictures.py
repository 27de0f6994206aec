"""What docs/pictures.md tells, word for word, on the tiny mini world."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from stock_world import STOCK_TOOLS, StockWorld
from test_your_own_data import FORKS, NOTE, blocks

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / 'docs' / 'pictures.md').read_text()


@pytest.fixture(scope='module')
def written(world: StockWorld, vild: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which every command of the page was run."""
    folder = tmp_path_factory.mktemp('pictures')
    for link, target in (
        ('tools', ROOT / 'tools'),
        ('data/mini_lvis', world.data),
        ('work_dirs/mini_lvis/vild', vild.parent),
    ):
        (folder / link).parent.mkdir(parents=True, exist_ok=True)
        (folder / link).symlink_to(target)
    (folder / 'bin').mkdir()
    (folder / 'bin' / 'python').write_text(NOTE.format(python=sys.executable))
    (folder / 'bin' / 'python').chmod(0o755)
    # The config that the training wrote beside its checkpoint has the sizes of the tiny world.
    code = '\n'.join(blocks(DOCS)).replace('configs/mini_lvis/', 'work_dirs/mini_lvis/vild/')
    code = code.replace('iter_600', 'iter_2')
    setup = f'TOOLS={STOCK_TOOLS}\n'
    for command in (['bash', '-euc', setup + code], [sys.executable, '-c', FORKS]):
        done = subprocess.run(
            command,
            cwd=folder,
            env={
                **os.environ,
                'PATH': f'{folder / "bin"}:{os.environ["PATH"]}',
                'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}',
                'CUDA_VISIBLE_DEVICES': '',
            },
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / 'work_dirs'


def test_detections(written: Path, world: StockWorld) -> None:
    files = sorted((written / 'pictures').glob('*/show/*.jpg'))
    assert len(files) == len(world.annotations('test')['images']) == 7
    # 128 pixels, enlarged to 500 or more, annotations beside detections.
    assert {cv2.imread(str(file)).shape for file in files} == {(512, 1024, 3)}


def test_regions(written: Path) -> None:
    """Beside the annotations, which fill the left, and with words at the right."""
    files = sorted((written / 'browse').glob('*.jpg'))
    assert len(files) == 8
    for file in files:
        picture = cv2.imread(str(file))
        assert picture.shape[0] == 512 and picture.shape[1] > 1024 + 100
        column = picture[:, 1024:]
        assert (column > 200).mean() > 0.8 and (column < 80).any()
        assert not np.array_equal(picture[:, :512], picture[:, 512:1024])


def test_analysis(written: Path) -> None:
    assert cv2.imread(str(written / 'curves.png')) is not None
    page = (written / 'confusion.html').read_text()
    assert 'red heart' in page and 'blue circle' in page
