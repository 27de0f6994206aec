"""How many regions lie on objects that nobody annotated."""

import json
from pathlib import Path

import generate
import hidden_objects
import numpy as np
import pytest
from tiny_drawings import make_drawings

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore

SIZES = ['--train', '6', '--val', '1', '--test', '1', '--unseen', '1', '--image-size', '128']
NOVEL = {'red heart', 'blue circle'}
SOURCE = dict(teacher='none@0', embed_dims=2)


def box_of(mask: np.ndarray) -> list[float]:
    y, x = np.nonzero(mask)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_shares(tmp_path: Path) -> None:
    """Of each picture the novel objects, every other base object, and three regions on nothing."""
    drawings, data = make_drawings(tmp_path / 'drawings'), tmp_path / 'data'
    generate.main(['--out', str(data), '--drawings', str(drawings), '--workers', '1', *SIZES])
    world = json.loads((data / 'world.json').read_text())
    painter = generate.Painter(world, drawings)
    counts = dict.fromkeys(('novel', 'base', 'base hit', 'nothing'), 0)
    shard = EmbeddingStore.create(tmp_path / 'store', SOURCE, {})
    for i in range(6):
        scene = painter.scene('train', i)
        rows, annotated = [[0, 0, 2, 2]] * 3, [False] * 3
        for k, drawing in enumerate(scene.drawings):
            box = box_of(scene.owners == k)
            kind = 'novel' if drawing.category in NOVEL else 'base'
            counts[kind] += 1
            hit = kind == 'novel' or counts['base'] % 2 == 0
            counts['base hit'] += hit and kind == 'base'
            rows.append(box)
            # the others are annotated, which does not count
            annotated.append(not hit)
        counts['nothing'] += 3
        n = len(rows)
        record = EmbeddingRecord(
            np.array(rows, np.float32),
            np.linspace(1, 0, n, dtype=np.float32),
            np.ones((n, 2), np.float32) / np.sqrt(2).astype(np.float32),
            annotated=np.array(annotated),
        )
        shard.write([(i + 1, record, (128, 128))])
    shard.close()
    assert counts['novel'] > 3 and counts['base hit'] > 3
    found = hidden_objects.shares(data, tmp_path / 'store', drawings, iou=0.99)
    regions = counts['novel'] + counts['base hit'] + counts['nothing']
    assert found == pytest.approx(
        {
            'rows on novel': counts['novel'] / regions,
            'rows on base': counts['base hit'] / regions,
            'novel found': 1.0,
            'base found': counts['base hit'] / counts['base'],
        }
    )
    # the best three are on nothing
    best = hidden_objects.shares(data, tmp_path / 'store', drawings, regions=3)
    assert best == dict.fromkeys(found, 0.0)
