"""MMDetection's test tool: several processes, other words, augmentation, configs of other runs."""

import json
import pickle
import re
from pathlib import Path

import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from stock_world import STOCK_TOOLS, StockWorld
from tiny_drawings import CATEGORIES

from mmdet_vild.teacher import OpenCLIPTeacher

pytestmark = [pytest.mark.onedl, pytest.mark.slow]


def test_two_processes_find_what_one_finds(world: StockWorld, vild: Path, vild_test: str) -> None:
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


def test_another_vocabulary(world: StockWorld, vild: Path) -> None:
    """More words, in another order, on the checkpoint as it is."""
    content = world.annotations('test')
    old = {category['id']: category['name'] for category in content['categories']}
    words = [*reversed(old.values()), 'white house', 'pink star']
    ids = {name: i + 1 for i, name in enumerate(words)}
    for annotation in content['annotations']:
        annotation['category_id'] = ids[old[annotation['category_id']]]
    content['categories'] = [
        dict(id=i, name=name, synonyms=[name], frequency='c', image_count=1)
        for name, i in ids.items()
    ]
    for image in content['images']:
        image['neg_category_ids'] = []
    ann_file = world.add_split('other', content)
    teacher = OpenCLIPTeacher('mini-clip-lite0', str(world.teacher))
    folder = world.work / 'other-vocabulary'
    done = world.test(  # which looks for complaints about the checkpoint
        *('vild', vild, folder.name),
        world.add_text('other', teacher.encode_categories(content['categories'])),
        'model.roi_head.bbox_head.num_classes=7',
        'model.roi_head.mask_head.num_classes=7',
        f'test_dataloader.dataset.ann_file={ann_file}',
        f'test_evaluator.ann_file={world.data / ann_file}',
        f'test_evaluator.outfile_prefix={folder / "results"}',
    )
    assert 'lvis/bbox_AP: ' in done.stdout
    results = json.loads((folder / 'results.bbox.json').read_text())
    assert {6, 7} & {result['category_id'] for result in results}

    # The inferencer takes the names from the words too, and not from the checkpoint.
    config = str(folder / world.config('vild').name)
    inferencer = DetInferencer(config, weights=str(vild), device='cpu')
    assert list(inferencer.visualizer.dataset_meta['classes']) == words
    image = next((world.data / 'val2017').glob('*.jpg'))
    (found,) = inferencer(str(image), no_save_vis=True)['predictions']
    assert max(found['labels']) >= len(CATEGORIES)


def test_work_folders_of_other_runs(world: StockWorld, vild: Path) -> None:
    """Of a resumed training by two processes, and of tests with augmentation: their configs can
    be tested and analysed as they are."""
    world.train(
        *('vild', 'resumed', 'train_cfg.max_iters=3'), arguments=['--resume', vild], processes=2
    )
    folder = world.work / 'resumed'
    saved = torch.load(folder / 'iter_3.pth', weights_only=False)  # written just now
    weights = folder / 'weights.pth'
    torch.save({key: saved[key] for key in ('meta', 'state_dict')}, weights)
    config, found = folder / world.config('vild').name, []
    for work_dir in ('tta', 'tta-again'):
        results, work = world.root / f'{work_dir}.pkl', world.work / work_dir
        arguments = ('--tta', '--work-dir', work, '--out', results)
        done = world.run('python', STOCK_TOOLS / 'test.py', config, weights, *arguments)
        assert 'lvis/segm_APr' in done.stdout
        found.append(pickle.loads(results.read_bytes()))
        config = work / config.name
    left = Config.fromfile(config)
    assert left.model.type == 'ViLD' and left.load_from is None
    assert left.test_dataloader.dataset.pipeline == left.test_pipeline
    categories = world.annotations('train')['categories']
    for first, again in zip(*found, strict=True):
        one = first['pred_instances']
        assert 0 < len(one['scores']) == len(one['masks']) <= 50
        shown = [categories[label] for label in one['labels']]
        assert one['label_names'] == [category['name'] for category in shown]
        assert one['novel'].tolist() == [category['frequency'] == 'r' for category in shown]
        assert torch.equal(one['bboxes'], again['pred_instances']['bboxes'])

    analyse, pictures = STOCK_TOOLS / 'analysis_tools/analyze_results.py', world.root / 'pictures'
    world.run('python', analyse, folder / config.name, results, pictures)
    assert list(pictures.rglob('*.jpg'))
