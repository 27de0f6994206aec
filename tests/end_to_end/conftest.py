"""The world that the end-to-end tests share, made once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from stock_world import StockWorld
from warm_python import WarmPython

#: What they have imported. Runs write their config several times, whose layout would be a good part
#: of what a short one takes.
SETUP = (
    'from yapf.yapflib import yapf_api; '
    'yapf_api.FormatCode = lambda text, **options: (text, False); '
    'import torch.distributed.run, open_clip, mmdet.apis, mmdet_vild'
)


@pytest.fixture(scope='session')
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that has a ``python`` which starts at once."""
    folder = tmp_path_factory.mktemp('programs')
    python = WarmPython(folder / 'python', SETUP, dict(os.environ))
    yield folder
    python.stop()


@pytest.fixture(scope='session')
def vild_text(tmp_path_factory: pytest.TempPathFactory, programs) -> tuple[StockWorld, Path]:
    """A world, and the checkpoint of ViLD-text in it."""
    world = StockWorld(tmp_path_factory.mktemp('stock_world'), programs)
    world.prepare()
    world.train('vild-text', 'vild-text')
    return world, world.work / 'vild-text' / 'iter_2.pth'


@pytest.fixture(scope='session')
def world(vild_text: tuple[StockWorld, Path]) -> StockWorld:
    """The world with the teacher's embeddings of the proposals of ViLD-text."""
    world, checkpoint = vild_text
    done = world.test('region-embeddings', checkpoint, 'region-embeddings')
    assert 'embedding_store/images: 21' in done.stdout
    return world


@pytest.fixture(scope='session')
def vild(world: StockWorld) -> Path:
    """The checkpoint of ViLD."""
    world.train('vild', 'vild')
    return world.work / 'vild' / 'iter_2.pth'


@pytest.fixture(scope='session')
def vild_test(world: StockWorld, vild: Path) -> str:
    """The output of testing ViLD; its results are in the work folder ``vild-test``."""
    prefix = f'test_evaluator.outfile_prefix={world.work / "vild-test" / "results"}'
    return world.test('vild', vild, 'vild-test', prefix).stdout
