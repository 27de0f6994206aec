"""Colours, shares and places of names of a map of labels."""

import colorsys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmdet_vild.visualization.semantic_maps import label_color, name_place, painted, shares


def test_neighbours_of_a_list_of_words_differ():
    """In hue by a tenth of the circle at least, among any four of them."""
    hues = [colorsys.rgb_to_hsv(*label_color(i))[0] for i in range(847)]
    for step in (1, 2, 3):
        gap = np.abs(np.subtract(hues[step:], hues[:-step]))
        assert np.minimum(gap, 1 - gap).min() > 0.1
    assert len({label_color(i) for i in range(150)}) == 150


@given(st.lists(st.sampled_from([0, 3, 700, 65535]), min_size=6, max_size=6))
def test_shares_are_of_pixels_with_a_label(labels):
    found = shares(np.reshape(labels, (2, 3)), 65535)
    valid = [label for label in labels if label != 65535]
    assert found == {label: labels.count(label) / len(valid) for label in set(valid)}
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_pixels_of_no_label_stay():
    image = np.full((4, 6, 3), 100, np.uint8)
    seg_map = np.repeat([[1, 1, 1, 255, 255, 255]], 4, axis=0)
    drawn = painted(image, seg_map, [1])
    expected = np.round(100 + 0.55 * (np.array(label_color(1)) - 100.0))
    assert (drawn[:, :3] == expected).all()
    assert (drawn[:, 4:] == 100).all()
    assert (drawn[:, 3] == 224).all()  # the line between, 0.8 white


def test_a_name_is_far_from_borders():
    mask = np.zeros((20, 30), bool)
    mask[:, :3] = True  # a strip along the border of the picture
    mask[4:13, 10:21] = True
    x, y, room = name_place(mask)
    assert 13 <= x <= 17 and y == 8 and 4 < room < 6
    assert name_place(np.ones((9, 9), bool))[:2] == (4, 4)
