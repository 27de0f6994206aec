"""Small data without a store: the teacher runs in the data loader."""

import json
import math

import pytest
from stock_world import StockWorld

from mmdet_vild.embedding_store import EmbeddingStore

pytestmark = pytest.mark.slow


def test_train(world: StockWorld) -> None:
    """Regions from a COCO-style results file, as any detector's test run leaves it."""
    store = EmbeddingStore(str(world.store))
    proposals = []
    for image in world.annotations('train')['images']:
        record = store.read(dict(img_id=image['id'], ori_shape=(128, 128)))
        for box, score in zip(record.boxes.tolist(), record.scores.tolist(), strict=True):
            x1, y1, x2, y2 = box
            bbox = [x1, y1, x2 - x1, y2 - y1]
            proposals.append(dict(image_id=image['id'], bbox=bbox, score=score, category_id=1))
    file = world.root / 'proposals.json'
    file.write_text(json.dumps(proposals))
    config = world.root / 'on_the_fly.py'
    config.write_text(
        f'_base_ = {str(world.config("vild"))!r}\n'
        'train_pipeline = _base_.train_pipeline\n'
        "train_pipeline[3]['store'] = dict(\n"
        "    type='OnTheFlyEmbeddings',\n"
        "    teacher=dict(type='OpenCLIPTeacher', model_name='mini-clip-lite0', "
        f'pretrained={str(world.teacher)!r}),\n'
        f'    proposal_file={str(file)!r})\n'
        'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n'
    )
    world.train(str(config), 'on-the-fly')
    *iterations, _ = world.logged('on-the-fly')
    assert len(iterations) == 2
    # An untrained detector is as far from the teacher as two random directions.
    assert all(math.isfinite(i['loss']) and i['loss_distill'] > 0.1 for i in iterations)
