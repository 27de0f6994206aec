"""Pictures of novel objects."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools' / 'mini_lvis'))

import generate  # noqa: E402
import pictures  # noqa: E402

CATEGORIES = [{'name': 'red circle', 'frequency': 'f'}, {'name': 'red heart', 'frequency': 'r'}]


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('pictures')
    categories = root / 'categories.json'
    categories.write_text(json.dumps(CATEGORIES))
    sizes = ['--train', '1', '--val', '1', '--test', '4', '--image-size', '128', '--workers', '1']
    generate.main(['--out', str(root / 'data'), '--categories', str(categories), *sizes])
    return root / 'data'


def test_draws(data, tmp_path):
    """A panel of the annotations and one a method; the images with most novel objects first."""
    content = json.loads((data / 'annotations' / 'lvis_v1_test.json').read_text())
    certain = [a | dict(score=0.9) for a in content['annotations'] if a['category_id'] == 2]
    results = {}
    for method, rows in {'nothing': [], 'hearts': certain, 'unsure': certain}.items():
        score = 0.1 if method == 'unsure' else 0.9
        results[method] = tmp_path / method
        results[method].mkdir()
        rows = [row | dict(score=score) for row in rows]
        (results[method] / 'results.segm.json').write_text(json.dumps(rows))
    files = pictures.draw_pictures(data, results, tmp_path / 'out', count=2)

    counts = {image['id']: 0 for image in content['images']}
    for annotation in certain:
        counts[annotation['image_id']] += 1
    drawn = [int(file.stem) for file in files]
    assert len(drawn) == 2
    assert sorted((counts[i] for i in drawn), reverse=True) == [counts[i] for i in drawn]
    assert counts[drawn[0]] == max(counts.values()) > 0
    side = 128 * pictures.ENLARGE
    for file in files:
        picture = cv2.imread(str(file))
        assert picture.shape == (side + pictures.TITLE_HEIGHT, 4 * side, 3)
        panels = np.split(picture[pictures.TITLE_HEIGHT :], 4, axis=1)
        annotated, nothing, hearts, unsure = (panel.astype(int) for panel in panels)
        assert np.array_equal(nothing, unsure)
        assert np.abs(hearts - nothing).max() > 50
        assert np.abs(annotated - nothing).max() > 50
