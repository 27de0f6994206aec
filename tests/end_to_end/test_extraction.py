"""The extraction of region embeddings is killed, meets broken images, and loses nothing."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from stock_world import StockWorld, assert_same_records

from mmdet_vild.embedding_store import EmbeddingStore

pytestmark = pytest.mark.slow

KILLER = """
from small_store import half_a_transaction

from mmdet_vild.embedding_store import EmbeddingShard

write, batches = EmbeddingShard.write, []


def write_or_die(self, records):
    batches.append(len(records))
    if len(batches) == 9:
        half_a_transaction(self.path)
    write(self, records)


EmbeddingShard.write = write_or_die
"""
HELPERS = Path(__file__).parents[1] / 'helpers'


@pytest.mark.onedl
def test_killed_and_gone_on_with(vild_text: tuple[StockWorld, Path], world, tmp_path: Path) -> None:
    """In the middle of a transaction; two processes compute what is left, and all is what one
    process computes."""
    _, checkpoint = vild_text
    (tmp_path / 'killer.py').write_text(KILLER)
    deadly = tmp_path / 'deadly.py'
    deadly.write_text(
        f'_base_ = {str(world.config("region-embeddings"))!r}\n'
        "custom_imports = dict(imports=['mmdet_vild', 'killer'])\n"
    )
    path = world.root / 'killed'
    option = f'test_evaluator.path={path}'
    world.test(
        *(str(deadly), checkpoint, 'killed', option),
        status=-signal.SIGKILL,
        env={'PYTHONPATH': f'{tmp_path}:{HELPERS}:{os.environ.get("PYTHONPATH", "")}'},
    )
    assert len(EmbeddingStore(path)) == 8
    done = world.test('region-embeddings', checkpoint, 'killed', option, processes=2)
    assert '8 of 21 images are in' in done.stdout and '(test) [7/7]' in done.stdout
    assert 'crops_per_s: ' in done.stdout and 'eta: ' in done.stdout
    assert 'embedding_store/images: 21  embedding_store/missing: 0' in done.stdout
    assert_same_records(EmbeddingStore(world.store), EmbeddingStore(path))


def test_given_regions_and_a_broken_image(vild_text: tuple[StockWorld, Path], world) -> None:
    """Annotations of base categories, and boxes of a file, of which the second sticks out of its
    image. The image that cannot be read is skipped; when it is mended, it alone is computed."""
    _, checkpoint = vild_text
    content, boxes = world.annotations('train'), [[5, 6, 70, 80.5], [100, 90, 60, 20]]
    ids = [image['id'] for image in content['images']]
    file = world.root / 'proposals.json'
    rows = [dict(image_id=img_id, bbox=box, score=0.5) for img_id in ids for box in boxes]
    file.write_text(json.dumps(rows))
    data, path = world.root / 'broken', world.root / 'given'
    shutil.copytree(world.data, data)
    image = sorted((data / 'train2017').glob('*.jpg'))[3]
    picture = image.read_bytes()
    image.write_bytes(b'no picture')
    options = (
        *(f'test_evaluator.path={path}', f'test_dataloader.dataset.data_root={data}/'),
        *(f'model.proposal_file={file}', 'model.with_gt=True'),
        'test_dataloader.dataset.pipeline.0.type=LoadImageOrSkip',
    )
    skipped = world.test('region-embeddings', checkpoint, 'given', *options).stdout
    assert f'skipped: {image}' in skipped and '1 of 21 images have no record' in skipped
    assert 'embedding_store/images: 20  embedding_store/missing: 1' in skipped
    image.write_bytes(picture)
    mended = world.test('region-embeddings', checkpoint, 'given', *options).stdout
    assert '20 of 21 images are in' in mended and '(test) [1/1]' in mended
    store = EmbeddingStore(path)
    novel = {c['id'] for c in content['categories'] if c['frequency'] == 'r'}
    for img_id in ids:
        record = store.read(dict(img_id=img_id, ori_shape=(128, 128)))
        of_image = [a for a in content['annotations'] if a['image_id'] == img_id]
        base = [a['bbox'] for a in of_image if a['category_id'] not in novel]
        found = np.hstack([record.boxes[:, :2], record.boxes[:, 2:] - record.boxes[:, :2]])
        np.testing.assert_allclose(found, [*base, boxes[0], [100, 90, 28, 20]], atol=1e-3)
        np.testing.assert_array_equal(record.scores, [1] * len(base) + [0.5] * 2)
