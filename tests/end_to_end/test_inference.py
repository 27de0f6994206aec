"""After training: another vocabulary, and MMDetection's inferencer."""

import json
import sys
from pathlib import Path

import cv2
import pytest
from mmengine.config import Config
from stock_world import StockWorld
from tiny_drawings import CATEGORIES

from mmdet_vild.teacher import OpenCLIPTeacher

pytestmark = [pytest.mark.onedl, pytest.mark.slow]

INFERENCE = """
import json, sys
from mmdet.apis import DetInferencer

config, weights, image = sys.argv[1:]
inferencer = DetInferencer(model=config, weights=weights, device='cpu')
found = inferencer(image, return_vis=True, no_save_vis=True)
result = found['predictions'][0]
result['drawn'] = found['visualization'][0].shape
result['classes'] = inferencer.visualizer.dataset_meta['classes']
print('RESULT' + json.dumps(result))
"""


def infer(world: StockWorld, *arguments: Path) -> dict:
    """What MMDetection's inferencer finds, in a process of its own."""
    done = world.run(sys.executable, '-c', INFERENCE, *arguments)
    return json.loads(done.stdout.split('RESULT')[1].splitlines()[0])


def test_inferencer(world: StockWorld, vild: Path) -> None:
    """With the config that the training wrote beside its checkpoint."""
    config = vild.parent / 'vild_r18-mini_fpn_mini-lvis.py'
    image = next((world.data / 'val2017').glob('*.jpg'))
    result = infer(world, config, vild, image)
    assert result['classes'] == [category['name'] for category in CATEGORIES]
    assert result['drawn'] == [128, 128, 3]
    count = len(result['scores'])
    assert count == len(result['labels']) == len(result['bboxes']) == len(result['masks']) > 0
    assert set(result['labels']) <= set(range(5))
    assert all(0 <= score <= 1 for score in result['scores'])
    assert all(0 <= x <= 128 for box in result['bboxes'] for x in box)
    assert all(mask['size'] == [128, 128] for mask in result['masks'])


def test_another_vocabulary(world: StockWorld, vild: Path) -> None:
    """More words, in another order, on the checkpoint as it is."""
    content = world.annotations('test')
    words = [category['name'] for category in reversed(content['categories'])]
    words += ['white house', 'pink star']
    ids = {name: i + 1 for i, name in enumerate(words)}
    old = {category['id']: category['name'] for category in content['categories']}
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
    options = (
        world.add_text('other', teacher.encode_categories(content['categories'])),
        'model.roi_head.bbox_head.num_classes=7',
        'model.roi_head.mask_head.num_classes=7',
    )
    done = world.test(  # which looks for complaints about the checkpoint
        *('vild', vild, folder.name, *options),
        f'test_dataloader.dataset.ann_file={ann_file}',
        f'test_evaluator.ann_file={world.data / ann_file}',
        f'test_evaluator.outfile_prefix={folder / "results"}',
    )
    assert 'lvis/bbox_AP: ' in done.stdout
    results = json.loads((folder / 'results.bbox.json').read_text())
    assert {6, 7} & {result['category_id'] for result in results}

    # The inferencer takes the names from the words too, and not from the checkpoint.
    config = Config.fromfile(world.config('vild'))
    config.merge_from_dict(dict(option.split('=') for option in options[:1]))
    config.model.roi_head.bbox_head.num_classes = 7
    config.model.roi_head.mask_head.num_classes = 7
    config.dump(folder / 'config.py')
    image = next((world.data / 'val2017').glob('*.jpg'))
    result = infer(world, folder / 'config.py', vild, image)
    assert result['classes'] == words
    assert max(result['labels']) >= len(CATEGORIES)


def test_explained_pictures(world: StockWorld, vild: Path) -> None:
    """The test tool draws what scores are made of: a column at the right of the two pictures."""
    done = world.test(
        *('vild', vild, 'explained'),
        *('model.test_cfg.rcnn.explain=3', 'visualizer.explain=True'),
        *('default_hooks.visualization.draw=True', 'default_hooks.visualization.score_thr=0'),
        'default_hooks.visualization.test_out_dir=drawn',
    )
    assert 'lvis/bbox_AP: ' in done.stdout
    drawn = list((world.work / 'explained').glob('*/drawn/*'))
    assert len(drawn) == 7
    for path in drawn:
        height, width = cv2.imread(str(path)).shape[:2]
        assert height == 512 and width > 1100  # 128 pixels, four times as large
