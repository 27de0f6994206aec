"""Labels that can be read."""

import numpy as np

from mmdet_vild.visualization import place_labels


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    low, high = np.maximum(one[:2], two[:2]), np.minimum(one[2:], two[2:])
    return float(np.prod((high - low).clip(0)))


def test_at_the_box_unless_in_the_way() -> None:
    """On top of its box; where there is no room at all, inside the picture."""
    boxes = np.array([[20, 50, 80, 90], [20, 50, 80, 90], [10, 5, 90, 40], [70, 70, 99, 99]])
    sizes = np.array([[30, 10]] * 4)
    places = place_labels(boxes, sizes, 100, 100)
    assert places.tolist()[::2] == [[20, 40, 50, 50], [10, 0, 40, 10]]
    assert places[1].tolist() == [50, 40, 80, 50]  # the other end of the same box
    assert places[3].tolist() == [70, 60, 100, 70]
    assert place_labels(boxes[:1], np.array([[300, 10]]), 100, 100).tolist() == [[0, 40, 300, 50]]
    assert place_labels(np.zeros((0, 4)), np.zeros((0, 2)), 100, 100).shape == (0, 4)


def test_crowd() -> None:
    """Thirty objects: in the picture, near their boxes, none on another."""
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 500, (30, 2))
    boxes = np.concatenate([start, start + rng.uniform(20, 100, (30, 2))], axis=1)
    sizes = np.stack([rng.uniform(40, 90, 30), np.full(30, 16)], axis=1)
    places = place_labels(boxes, sizes, 600, 600)
    np.testing.assert_allclose(places[:, 2:] - places[:, :2], sizes)
    assert places.min() >= 0 and places.max() <= 600
    assert np.abs(places[:, 3] - boxes[:, 1]).max() < 8 * 16
    assert not any(overlap(places[i], places[j]) for i in range(30) for j in range(i))
