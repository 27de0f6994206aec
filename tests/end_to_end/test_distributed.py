"""Two processes on a CPU, through the stock launchers."""

import json
import math
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from stock_world import StockWorld, assert_same_records

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore, dataset_fingerprint

pytestmark = [pytest.mark.onedl, pytest.mark.slow]


def test_train_with_a_rank_that_has_nothing_to_learn_from(world: StockWorld) -> None:
    """Every other image, and so all of the second rank, has no annotation and no region."""
    content = world.annotations('train')
    world_store = EmbeddingStore(world.store)
    empty = {image['id'] for image in content['images'][1::2]}
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] not in empty]
    source = dict(world_store.header)
    del source['dataset']
    ann_file = world.add_split('half', content)
    dataset = dataset_fingerprint(world.data / ann_file)
    shard = EmbeddingStore.create(world.root / 'half', source, dataset)
    for image in content['images']:
        record = world_store.read(dict(img_id=image['id'], ori_shape=(128, 128)))
        if image['id'] in empty:
            record = EmbeddingRecord(record.boxes[:0], record.scores[:0], record.embeddings[:0])
        shard.write([(image['id'], record, (128, 128))])
    shard.close()
    world.train(
        'vild',
        'distributed',
        f'train_dataloader.dataset.ann_file={ann_file}',
        'train_dataloader.dataset.filter_cfg.filter_empty_gt=False',
        f'train_dataloader.dataset.pipeline.3.store.path={shard.path.parent}',
        'train_dataloader.sampler.shuffle=False',
        processes=2,
    )
    *iterations, metrics = world.logged('distributed')
    assert len(iterations) == 2
    assert all(math.isfinite(i['loss']) and math.isfinite(i['grad_norm']) for i in iterations)
    assert 'lvis/bbox_AP' in metrics

    # An InfiniteSampler that does not shuffle gives every other sample to the second rank.
    config = Config.fromfile(world.work / 'distributed' / 'vild_r18-mini_fpn_mini-lvis.py')
    assert not config.get('find_unused_parameters')
    init_default_scope('mmdet')
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert len(dataset) == 21
    for i in range(16):
        sample = dataset[i]['data_samples']
        assert (len(sample.gt_instances) > 0) == (i % 2 == 0)
        assert (len(sample.distill_instances) > 0) == (i % 2 == 0)


def test_test_gives_what_one_process_gives(world: StockWorld, vild: Path, vild_test: str) -> None:
    folder = world.work / 'vild-test-2'
    prefix = f'test_evaluator.outfile_prefix={folder / "results"}'
    output = world.test('vild', vild, folder.name, prefix, processes=2).stdout
    metrics = re.findall(r'lvis/(\S+): (\S+)', output)
    assert len(metrics) == 18
    assert metrics == re.findall(r'lvis/(\S+): (\S+)', vild_test)
    for name in ('results.bbox.json', 'results.segm.json'):
        one, two = (
            sorted(json.dumps(row) for row in json.loads(file.read_text()))
            for file in (world.work / 'vild-test' / name, folder / name)
        )
        assert one == two


def test_extract_gives_what_one_process_gives(vild_text: tuple[StockWorld, Path], world) -> None:
    _, checkpoint = vild_text
    path = world.root / 'regions-2'
    done = world.test(
        *('region-embeddings', checkpoint, 'regions-2'),
        f'test_evaluator.path={path}',
        processes=2,
    )
    assert 'embedding_store/images: 21' in done.stdout
    one, two = EmbeddingStore(world.store), EmbeddingStore(path)
    assert [len(shard) for shard in two.shards] == [11, 10]
    assert_same_records(one, two)


def test_extraction_goes_on_with_another_number_of_processes(
    vild_text: tuple[StockWorld, Path], world
) -> None:
    """Of two processes' shards some records are lost; one process makes exactly these again."""
    _, checkpoint = vild_text
    path = world.root / 'regions-3'
    shutil.copytree(world.root / 'regions-2', path)
    for shard, lost in zip(EmbeddingStore(path).shards, (4, 2), strict=True):
        with sqlite3.connect(shard.path) as connection:
            connection.execute(f'DELETE FROM records WHERE number > {len(shard) - lost}')
    done = world.test(
        *('region-embeddings', checkpoint, 'regions-3'),
        f'test_evaluator.path={path}',
    )
    assert '15 of 21 images are in' in done.stdout and '6 are left' in done.stdout
    assert '(test) [6/6]' in done.stdout
    assert_same_records(EmbeddingStore(world.store), EmbeddingStore(path))
