"""Small data without a store: the teacher runs in the data loader."""

import json
import math

import pytest
from stock_world import StockWorld

pytestmark = pytest.mark.slow


def test_train(world: StockWorld) -> None:
    """Regions from a COCO-style results file, as any detector's test run leaves it."""
    rows = [
        dict(image_id=image['id'], bbox=[8, 16 * i, 60, 40], score=0.5, category_id=1)
        for image in world.annotations('train')['images']
        for i in range(4)
    ]
    file = world.root / 'regions.json'
    file.write_text(json.dumps(rows))
    config = world.root / 'on_the_fly.py'
    config.write_text(
        f'_base_ = {str(world.config("vild"))!r}\n'
        'train_pipeline = _base_.train_pipeline\n'
        "train_pipeline[3]['store'] = dict(\n"
        "    type='OnTheFlyEmbeddings',\n"
        "    teacher=dict(type='OpenCLIPTeacher', model_name='mini-clip', "
        f'pretrained={str(world.teacher)!r}),\n'
        f'    proposal_file={str(file)!r})\n'
        'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n'
    )
    world.train(str(config), 'on-the-fly')
    *iterations, _ = world.logged('on-the-fly')
    assert len(iterations) == 2
    # An untrained detector is as far from the teacher as two random directions.
    assert all(math.isfinite(i['loss']) and i['loss_distill'] > 0.1 for i in iterations)
