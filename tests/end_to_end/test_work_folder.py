"""What runs leave in their work folders, given to MMDetection's tools as it is."""

import pickle
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from stock_world import STOCK_TOOLS, StockWorld

pytestmark = [pytest.mark.onedl, pytest.mark.slow]


@pytest.fixture(scope='module')
def resumed(world: StockWorld, vild: Path) -> tuple[Path, Path]:
    """The config that a resumed training by two processes left, and weights without the state
    of the training."""
    world.train(
        *('vild', 'resumed', 'train_cfg.max_iters=3'), arguments=['--resume', vild], processes=2
    )
    folder = world.work / 'resumed'
    saved = torch.load(folder / 'iter_3.pth', weights_only=False)  # written just now
    torch.save({key: saved[key] for key in ('meta', 'state_dict')}, folder / 'weights.pth')
    return folder / StockWorld.config('vild').name, folder / 'weights.pth'


def tool(world: StockWorld, name: str, *arguments: object) -> str:
    return world.run(sys.executable, STOCK_TOOLS / name, *arguments).stdout


def test_a_distributed_run(world: StockWorld, resumed: tuple[Path, Path]) -> None:
    """Its config tests, by one process, and MMDetection's analysis tools read it."""
    config, weights = resumed
    results = world.root / 'results.pkl'
    arguments = ('--work-dir', world.work / 'resumed-test', '--out', results)
    assert 'lvis/segm_APr' in tool(world, 'test.py', config, weights, *arguments)
    tool(world, 'analysis_tools/analyze_results.py', config, results, world.root / 'pictures')
    assert len(list((world.root / 'pictures').rglob('*.jpg'))) > 0


def test_test_time_augmentation(world: StockWorld, resumed: tuple[Path, Path]) -> None:
    """Detections have words and masks, and so do those of the config that this run leaves."""
    config, weights = resumed
    found = []
    for work_dir in ('tta', 'tta-again'):
        results = world.root / f'{work_dir}.pkl'
        arguments = ('--tta', '--work-dir', world.work / work_dir, '--out', results)
        assert 'lvis/segm_APr' in tool(world, 'test.py', config, weights, *arguments)
        found.append(pickle.loads(results.read_bytes()))
        config = world.work / work_dir / config.name
    left = Config.fromfile(config)
    assert left.model.type == 'ViLD' and left.load_from is None
    assert left.test_dataloader.dataset.pipeline == left.test_pipeline
    names = [category['name'] for category in world.annotations('train')['categories']]
    novel = [category['frequency'] == 'r' for category in world.annotations('train')['categories']]
    for first, again in zip(*found, strict=True):
        one = first['pred_instances']
        assert 0 < len(one['scores']) == len(one['masks']) <= 50
        assert one['label_names'] == [names[label] for label in one['labels']]
        assert one['novel'].tolist() == [novel[label] for label in one['labels']]
        assert torch.equal(one['bboxes'], again['pred_instances']['bboxes'])
