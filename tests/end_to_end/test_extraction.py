"""The extraction of region embeddings is killed, meets broken images, and loses nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stock_world import OWN_TOOLS, StockWorld, assert_same_records

from mmdet_vild.embedding_store import EmbeddingStore

pytestmark = pytest.mark.slow

KILLER = """
import os
import signal

from mmdet_vild.datasets import EmbeddingShard

write, batches = EmbeddingShard.write, []


def write_or_die(self, records):
    batches.append(len(records))
    if len(batches) == 9:
        self._execute('PRAGMA cache_size = 1')  # so that it is in the file, not in memory
        self._execute('BEGIN')
        self._execute("INSERT INTO records VALUES (99, '99', 1, 1, 1, 1, zeroblob(1000000))")
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, records)


EmbeddingShard.write = write_or_die
"""


def test_goes_on_after_a_kill(
    vild_text: tuple[StockWorld, Path], world: StockWorld, tmp_path: Path
) -> None:
    """In the middle of a transaction. Finished images are not computed again."""
    _, checkpoint = vild_text
    (tmp_path / 'killer.py').write_text(KILLER)
    deadly = tmp_path / 'deadly.py'
    deadly.write_text(
        f'_base_ = {str(world.config("region-embeddings"))!r}\n'
        "custom_imports = dict(imports=['mmdet_vild', 'killer'])\n"
    )
    path = world.root / 'killed'
    options = (f'test_evaluator.path={path}',)
    world.test(
        *(str(deadly), checkpoint, 'killed', *options),
        status=-signal.SIGKILL,
        env={'PYTHONPATH': f'{tmp_path}:{os.environ.get("PYTHONPATH", "")}'},
    )
    assert len(EmbeddingStore(path)) == 8
    batches = 'test_dataloader.batch_size=3'  # of other images than before
    done = world.test('region-embeddings', checkpoint, 'killed', batches, *options)
    assert '8 of 21 images are in' in done.stdout and '(test) [5/5]' in done.stdout
    assert 'crops_per_s: ' in done.stdout and 'eta: ' in done.stdout
    assert 'embedding_store/images: 21  embedding_store/missing: 0' in done.stdout
    assert_same_records(EmbeddingStore(world.store), EmbeddingStore(path))
    again = world.test('region-embeddings', checkpoint, 'killed', *options)
    assert '21 of 21 images are in' in again.stdout
    assert 'embedding_store/images: 21  embedding_store/missing: 0' in again.stdout


def test_regions_of_a_file_and_annotated_ones(vild_text: tuple[StockWorld, Path], world) -> None:
    """The annotations of base categories; 16 regions an image, some of them sticking out of it."""
    _, checkpoint = vild_text
    content, rng = world.annotations('train'), np.random.default_rng(0)
    boxes = {image['id']: rng.uniform(0, 120, (16, 4)).round(2) for image in content['images']}
    items = [
        dict(image_id=img_id, bbox=box, score=i / 16, category_id=1)
        for img_id, rows in boxes.items()
        for i, box in enumerate(rows.tolist())
    ]
    file = world.root / 'proposals.json'
    file.write_text(json.dumps(items))
    path = world.root / 'given'
    done = world.test(
        *('region-embeddings', checkpoint, 'given', f'test_evaluator.path={path}'),
        *('model.with_gt=True', f'model.proposal_file={file}'),
    )
    assert 'embedding_store/images: 21  embedding_store/missing: 0' in done.stdout
    store = EmbeddingStore(path)
    assert store.header['with_gt'].startswith('base@')
    assert store.header['proposals'].startswith('file@')
    novel = {c['id'] for c in content['categories'] if c['frequency'] == 'r'}
    for image in content['images']:
        record = store.read(dict(img_id=image['id'], ori_shape=(128, 128)))
        of_image = [a for a in content['annotations'] if a['image_id'] == image['id']]
        base = [a['bbox'] for a in of_image if a['category_id'] not in novel]
        start, size = np.split(boxes[image['id']][::-1], 2, axis=1)
        clipped = np.concatenate([start, np.minimum(size, 128 - start)], axis=1)
        expected = np.array(base).reshape(-1, 4).tolist() + clipped.tolist()
        found = record.boxes.copy()
        found[:, 2:] -= found[:, :2]
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert (record.scores[: len(base)] == 1).all() and len(record) == len(base) + 16
    another = world.test(
        *('region-embeddings', checkpoint, 'given', f'test_evaluator.path={path}'), status=1
    )
    assert 'was begun differently' in another.stderr and 'with_gt is' in another.stderr


def test_an_image_that_cannot_be_read(vild_text: tuple[StockWorld, Path], world) -> None:
    """It stops the run, or is skipped and reported; when it is mended, it alone is computed."""
    _, checkpoint = vild_text
    broken = world.root / 'broken'
    shutil.copytree(world.data, broken)
    image = sorted((broken / 'train2017').glob('*.jpg'))[3]
    content = image.read_bytes()
    image.write_bytes(b'no picture')
    path = world.root / 'with-broken'
    options = (
        f'test_dataloader.dataset.data_root={broken}/',
        f'test_evaluator.path={path}',
    )
    stopped = world.test('region-embeddings', checkpoint, 'with-broken', *options, status=1)
    assert image.name in stopped.stderr
    skip = (*options, 'test_dataloader.dataset.pipeline.0.type=LoadImageOrSkip')
    skipped = world.test('region-embeddings', checkpoint, 'with-broken', *skip)
    assert f'skipped: {image}' in skipped.stdout
    assert 'embedding_store/images: 20  embedding_store/missing: 1' in skipped.stdout
    assert '1 of 21 images have no record' in skipped.stdout
    image.write_bytes(content)
    mended = world.test('region-embeddings', checkpoint, 'with-broken', *skip)
    assert '20 of 21 images are in' in mended.stdout
    assert_same_records(EmbeddingStore(world.store), EmbeddingStore(path))


def test_damage_is_found_repaired_and_computed_again(
    vild_text: tuple[StockWorld, Path], world
) -> None:
    _, checkpoint = vild_text
    path = world.root / 'damaged'
    shutil.copytree(world.store, path)
    shard = path / 'shard-00000.sqlite'
    data = bytearray(shard.read_bytes())
    store = EmbeddingStore(path)
    (size,) = {(i['height'], i['width']) for i in world.annotations('train')['images']}
    victims = store.img_ids()[4:6]
    for img_id in victims:
        record = store.read(dict(img_id=img_id, ori_shape=size)).to_bytes()
        data[data.index(record[-64:]) + 5] ^= 1
    shard.write_bytes(data)

    def tool(action: str, *arguments: object, status: int = 0) -> str:
        command = [sys.executable, OWN_TOOLS / 'embedding_store.py', action, path, *arguments]
        done = subprocess.run(map(str, command), capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    found = tool('verify', status=1)
    assert all(f'image {img_id} ' in found for img_id in victims)
    assert '2 damages found' in found
    assert '19 records kept' in tool('repair')
    assert '0 damages found' in tool('verify')
    options = (f'test_evaluator.path={path}',)
    done = world.test('region-embeddings', checkpoint, 'damaged', *options)
    assert '19 of 21 images are in' in done.stdout and '(test) [2/2]' in done.stdout
    assert_same_records(EmbeddingStore(world.store), EmbeddingStore(path))

    assert '"teacher": "mini-clip-lite0@' in tool('show') and '21 images' in tool('show')
    tool('merge', '--out', world.root / 'merged')
    assert_same_records(EmbeddingStore(world.store), EmbeddingStore(world.root / 'merged'))
    tool('export', '--out', world.root / 'exported')
    assert len(list((world.root / 'exported').glob('*.npz'))) == 21
