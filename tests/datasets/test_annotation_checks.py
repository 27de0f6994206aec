"""What pycocotools would crash at is refused, and what it can read is not."""

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmdet_vild.datasets.annotation_checks import check_box, check_image, check_mask, run_lengths


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(0, 1))
)
def test_run_lengths(mask):
    """Those that pycocotools made, in both of its forms."""
    encoded = mask_utils.encode(np.asfortranarray(mask))
    text = encoded['counts'].decode()
    lengths, flat = run_lengths(text), mask.ravel(order='F')
    np.testing.assert_array_equal(np.repeat(np.arange(len(lengths)) % 2, lengths), flat)
    for counts in (text, lengths):
        check_mask(dict(size=encoded['size'], counts=counts), *mask.shape, 'here')


def test_long_runs():
    lengths = [0, 70_000_000, 5, 1_000_000, 3, 2_000_000, 12]
    encoded = mask_utils.frPyObjects(dict(size=[1, sum(lengths)], counts=lengths), 1, sum(lengths))
    assert run_lengths(encoded['counts'].decode()) == lengths


@pytest.mark.parametrize(
    'mask',
    [
        'o', 7, [7], ['12'], [[1, 2, 3, 'x', 5, 6]], [[0, 0, 9, 0, 9, float('nan')]],
        [[0, 0, 1e9, 0, 9, 9]], [[0, 0, 10**30, 0, 9, 9]], [[[0, 0], [9]]], [None],
        {}, {'size': [4, 6]}, {'size': [4, 6], 'counts': [23]},
        {'size': [4, 6], 'counts': [30, -6]},
        {'size': [6, 4], 'counts': [24]}, {'size': [4, 6], 'counts': [24.0]},
        {'size': [4, 6], 'counts': None}, {'size': [4, 6], 'counts': 'ooooooo'},
        {'size': [4, 6], 'counts': 'h'}, {'size': [4, 6], 'counts': '\ud800'},
    ],
)  # fmt: skip
def test_masks_that_are_refused(mask):
    with pytest.raises(ValueError, match='annotation 3 has .*(; expected|segmentation)'):
        check_mask(mask, 4, 6, 'annotation 3')


def test_masks_that_are_not():
    """Such as a polygon that leaves its image, or one that mmdet leaves out."""
    for mask in ([[-3, -2.5, 9, 0, 9, 9]], [[]], [[1, 2]], {'size': [4, 6], 'counts': [20, 4]}):
        check_mask(mask, 4, 6, 'annotation 3')


@pytest.mark.parametrize(
    'box', [None, 7, 'abcd', [1, 2, 3], ['1', 2, 3, 4], [1, 2, float('nan'), 4], [1, 2, 1e7, 4]]
)
def test_boxes_that_are_refused(box):
    with pytest.raises(ValueError, match='annotation 3 has the bbox .*; expected'):
        check_box(dict(bbox=box), 'annotation 3')


@pytest.mark.parametrize(
    'change',
    [dict(id=None), dict(id=float('nan')), dict(height=0), dict(width='6'),
     dict(width=float('inf')), dict(file_name=None),
     dict(file_name='a\0b'), dict(file_name='\ud800'), dict(file_name='http://host/a.jpg')],
)  # fmt: skip
def test_images_that_are_refused(change):
    image = dict(id=3, height=4, width=6.0, file_name='a/é.jpg')
    check_image(image, 'data', 'image 3')
    check_image(image | dict(file_name='s3://a'), '', 'image 3')
    with pytest.raises(ValueError, match='image 3 (has|names) .*; expected'):
        check_image(image | change, 'data', 'image 3')
