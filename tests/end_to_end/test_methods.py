"""Methods train and test with the stock tools, from their configs alone.

The others do in ``test_demo.py``, and each config in ``tests/configs``.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from stock_world import StockWorld

from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.slow


@pytest.mark.onedl
def test_vild(world: StockWorld, vild: Path, vild_test: str) -> None:
    check_training(world, 'vild', {'loss_cls', 'loss_bbox', 'loss_distill'})
    check_checkpoint(vild)
    check_testing(world, 'vild', vild_test)


def test_vild_text_and_clip_on_crops(vild_text: tuple[StockWorld, Path]) -> None:
    """All of one checkpoint."""
    world, checkpoint = vild_text
    check_training(world, 'vild-text', {'loss_cls', 'loss_bbox'})
    check_checkpoint(checkpoint)
    output = run_test(world, 'clip-on-crops', checkpoint)
    check_testing(world, 'clip-on-crops', output)
    options = ('model.type=ViLDTextCLIP', 'model.with_objectness=False')
    output = run_test(world, 'clip-on-crops', checkpoint, 'vild-text-clip', *options)
    check_testing(world, 'vild-text-clip', output)
    scores = [best_scores(world, name) for name in ('clip-on-crops', 'vild-text-clip')]
    assert scores[0] != scores[1]


@pytest.mark.onedl
def test_region_embeddings(world: StockWorld) -> None:
    store = EmbeddingStore(str(world.store))
    assert len(store) == 21
    assert store.teacher == TextEmbeddings.load(str(world.text)).teacher
    for image in world.annotations('train')['images']:
        record = store.read(dict(img_id=image['id'], ori_shape=(image['height'], image['width'])))
        assert 0 < len(record) <= 32
        assert record.boxes.min() >= 0
        assert 64 < record.boxes.max() <= 128  # the network saw 192 pixels
        norms = np.linalg.norm(record.embeddings.astype(float), axis=1)
        np.testing.assert_allclose(norms, 1, atol=2e-3)


def check_training(world: StockWorld, work_dir: str, bbox_losses: set[str]) -> None:
    *iterations, metrics = world.logged(work_dir)
    assert len(iterations) == 2
    for logged in iterations:
        losses = {name: value for name, value in logged.items() if 'loss' in name}
        assert set(losses) == {'loss', 'loss_rpn_cls', 'loss_rpn_bbox', 'loss_mask', *bbox_losses}
        assert all(math.isfinite(value) for value in (*losses.values(), logged['grad_norm']))
    assert 'lvis/bbox_AP' in metrics  # of val, after the last iteration


def check_checkpoint(checkpoint: Path) -> None:
    """It opens without trust, and holds what was learned and nothing else."""
    content = torch.load(checkpoint, map_location='cpu', weights_only=True)
    frozen = {
        key.split('.')[-1]
        for key in content['state_dict']
        if 'text_embeddings' in key or 'teacher' in key
    }
    assert frozen <= {'teacher_digest'}
    assert content['meta']['dataset_meta']['classes'][3] == 'red heart'


def run_test(
    world: StockWorld, method: str, checkpoint: Path, name: str | None = None, *options: str
) -> str:
    folder = f'{name or method}-test'
    prefix = f'test_evaluator.outfile_prefix={world.work / folder / "results"}'
    return world.test(method, checkpoint, folder, prefix, *options).stdout


def best_scores(world: StockWorld, name: str) -> list[float]:
    results = json.loads((world.work / f'{name}-test' / 'results.bbox.json').read_text())
    return sorted(result['score'] for result in results)[-5:]


def check_testing(world: StockWorld, method: str, output: str) -> None:
    folder = world.work / f'{method}-test'
    for iou_type in ('bbox', 'segm'):
        for name in ('AP', 'AP50', 'APr', 'APc', 'APf'):
            assert f'lvis/{iou_type}_{name}: ' in output
        results = json.loads((folder / f'results.{iou_type}.json').read_text())
        images = {image['id'] for image in world.annotations('test')['images']}
        assert {result['image_id'] for result in results} == images
        assert {result['category_id'] for result in results} <= {1, 2, 3, 4, 5}
        if iou_type == 'segm':
            assert all(result['segmentation']['size'] == [128, 128] for result in results)
        else:
            assert {4, 5} & {result['category_id'] for result in results}
