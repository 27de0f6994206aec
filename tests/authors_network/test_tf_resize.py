"""Resizing as TensorFlow 1 does, against its formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdet.registry import TRANSFORMS
from mmdet.utils import register_all_modules

from mmdet_vild.authors_network import legacy_bilinear

sides = st.integers(1, 40)


@given(sides, sides, sides, sides, st.integers(0, 10**6))
def test_is_the_formula(height, width, new_height, new_width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    found = legacy_bilinear(image, (new_height, new_width))
    assert found.shape == (new_height, new_width, 3) and found.dtype == np.float32
    i = seed % new_height
    for j in range(new_width):
        y, x = i * height / new_height, j * width / new_width
        expected = np.zeros(3)
        for row in (int(y + 1e-9), int(y + 1e-9) + 1):
            for column in (int(x + 1e-9), int(x + 1e-9) + 1):
                weight = (1 - abs(y - row)) * (1 - abs(x - column))
                expected += weight * image[min(row, height - 1), min(column, width - 1)]
        np.testing.assert_allclose(found[i, j], expected, atol=0.01)


@pytest.mark.onedl
def test_transform():
    """Only the pixels differ from mmdet's, by less than a pixel's shift."""
    register_all_modules()
    gradient = np.tile(np.arange(60, dtype=np.uint8)[None, :, None], (40, 1, 3))
    made = {}
    for kind in ('Resize', 'TFResize'):
        step = TRANSFORMS.build(dict(type=kind, scale=(120, 120), keep_ratio=True))
        boxes = np.array([[10.0, 10, 20, 20]], np.float32)
        made[kind] = step(dict(img=gradient, img_shape=(40, 60), gt_bboxes=boxes))
    images = [made[kind].pop('img').astype(np.float32) for kind in made]
    assert images[0].shape == images[1].shape == (80, 120, 3)
    np.testing.assert_allclose(images[1][:, :118], images[0][:, :118], atol=0.75)
    assert abs(images[1] - images[0]).max() > 0
    lists = [{k: np.asarray(v).tolist() for k, v in results.items()} for results in made.values()]
    assert lists[0] == lists[1]
