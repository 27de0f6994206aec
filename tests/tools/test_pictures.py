"""Pictures of novel objects."""

import json
from collections import Counter
from pathlib import Path

import cv2
import generate
import numpy as np
import pictures
import pytest
from tiny_drawings import make_drawings

CATEGORIES = ['red circle', 'red heart']


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('pictures')
    categories = root / 'categories.json'
    categories.write_text(json.dumps(CATEGORIES))
    drawings = make_drawings(root / 'drawings')
    sizes = ['--train', '1', '--val', '1', '--test', '4', '--unseen', '1', '--image-size', '128']
    chosen = ['--categories', str(categories), '--drawings', str(drawings), '--workers', '1']
    generate.main(['--out', str(root / 'data'), *chosen, *sizes])
    return root / 'data'


def test_draws(data, tmp_path):
    """A panel of the annotations and one a method; the images with most novel objects first."""
    content = json.loads((data / 'annotations' / 'lvis_v1_test.json').read_text())
    hearts = [a for a in content['annotations'] if a['category_id'] == 4]
    per_image = Counter(a['image_id'] for a in hearts)
    # The same boxes once more, as something else and less surely.
    doubled = [
        a | dict(score=score, category_id=category_id)
        for a in hearts
        for score, category_id in ((0.9, 4), (0.8, 1))
    ]
    methods = {
        'nothing': [],
        'hearts': [a | dict(score=0.9) for a in hearts],
        'unsure': [a | dict(score=0.1) for a in hearts],
        'doubled': doubled,
    }
    results = {}
    for method, rows in methods.items():
        results[method] = tmp_path / method
        results[method].mkdir()
        (results[method] / 'results.segm.json').write_text(json.dumps(rows))
    files = pictures.draw_pictures(data, results, tmp_path / 'out', count=2)

    drawn = [int(file.stem) for file in files]
    assert [per_image[i] for i in drawn] == sorted(per_image.values(), reverse=True)[:2]
    assert per_image[drawn[1]] > 0
    side = 128 * pictures.ENLARGE
    for file in files:
        picture = cv2.imread(str(file))
        assert picture.shape == (3 * (side + pictures.TITLE_HEIGHT), 2 * side, 3)
        rows = [row[pictures.TITLE_HEIGHT :] for row in np.split(picture.astype(int), 3)]
        panels = [panel for row in rows for panel in np.split(row, 2, axis=1)]
        annotated, nothing, hearts, unsure, doubled, blank = panels
        assert (blank == 255).all()
        assert np.array_equal(nothing, unsure)
        assert np.abs(hearts - doubled).max() < 50  # mmdet varies the colour of masks
        assert np.abs(hearts - nothing).max() > 100
        assert np.abs(annotated - nothing).max() > 50
