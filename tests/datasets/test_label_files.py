"""What numbers of label files stand for, from files of each official kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_pictures import blocks, colors_of, with_palette, write_numbers, write_picture
from PIL import Image

from mmdet_vild.datasets.label_files import (
    LabelTable,
    check_shape,
    labels_of_segments,
    picture_shape,
    read_numbers,
    segment_ids,
)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_labels_are_the_places_of_numbers(data):
    """Against a loop over pixels."""
    numbers = data.draw(st.lists(st.integers(0, 600), min_size=2, max_size=20, unique=True))
    split = data.draw(st.integers(1, len(numbers) - 1))
    values, ignored = numbers[:split], numbers[split:]
    dropped = data.draw(st.sets(st.integers(0, split - 1)))
    pixels = data.draw(st.lists(st.sampled_from(numbers), min_size=6, max_size=6))
    found = LabelTable(values, ignored, dropped).labels(
        np.array(pixels, np.uint16).reshape(2, 3), 'a.png'
    )
    expected = [
        255 if n in ignored or values.index(n) in dropped else values.index(n) for n in pixels
    ]
    assert found.ravel().tolist() == expected
    assert found.shape == (2, 3) and found.dtype == np.int32


@pytest.mark.parametrize(('count', 'ignore_index'), [(255, 255), (256, 65535), (847, 65535)])
def test_the_ignored_label_is_no_class(count, ignore_index):
    table = LabelTable(range(count), [65535])
    assert table.ignore_index == ignore_index
    pixels = np.array([[0, count - 1, 65535]], np.uint16)
    assert table.labels(pixels, '').tolist() == [[0, count - 1, ignore_index]]


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_16_bits_stay(tmp_path, suffix):
    numbers = blocks([0, 255, 256, 846, 65535], dtype=np.uint16)
    write_numbers(tmp_path / f'a{suffix}', numbers)
    np.testing.assert_array_equal(read_numbers(str(tmp_path / f'a{suffix}')), numbers)


def test_palettes_are_indices(tmp_path):
    numbers = blocks([0, 20, 255, 3])
    (tmp_path / 'a.png').write_bytes(with_palette(numbers))
    assert Image.open(tmp_path / 'a.png').mode == 'P'
    np.testing.assert_array_equal(read_numbers(str(tmp_path / 'a.png')), numbers)


def test_refuses_numbers_of_another_set(tmp_path):
    table = LabelTable(range(1, 151), [0])
    with pytest.raises(ValueError, match=r'a.png has 576 of 768 pixels of the numbers \[151, 180'):
        table.labels(blocks([3, 151, 180, 255]), 'a.png')
    # A gap within the range is no class either, nor is what a sign makes of a large number.
    with pytest.raises(ValueError, match=r'numbers \[1\], which are neither one of the 2 classes'):
        LabelTable([0, 2], [255]).labels(blocks([0, 1]), 'a.png')
    for wrong in (-1, 70000):
        with pytest.raises(ValueError, match=rf'of the numbers \[{wrong}\]'):
            table.labels(blocks([1, wrong], dtype=np.int32), 'a.png')
    # A file of one bit a pixel.
    assert LabelTable([0, 1], [255]).labels(np.array([[True, False]]), '').tolist() == [[1, 0]]


def test_refuses_8_bits_where_16_are_needed():
    table = LabelTable(range(459), [65535])
    with pytest.raises(ValueError, match='a.png has 8 bits a pixel, too few .* 459 classes'):
        table.labels(blocks([0, 1, 255]), 'a.png')
    table.labels(blocks([0, 1, 458, 65535], dtype=np.uint16), 'a.png')


def test_refuses_colours():
    with pytest.raises(ValueError, match='a.png has colours, not one number a pixel'):
        LabelTable(range(3), [255]).labels(np.zeros((4, 5, 3), np.uint8), 'a.png')


def test_refuses_fractions(tmp_path):
    """A TIFF may have them."""
    write_numbers(tmp_path / 'a.tif', blocks([0, 1, 2], dtype=np.float32))
    numbers = read_numbers(str(tmp_path / 'a.tif'))
    with pytest.raises(ValueError, match='a.tif has pixels of the type float32, not whole numbers'):
        LabelTable(range(3), [255]).labels(numbers, 'a.tif')


@pytest.mark.parametrize(
    ('values', 'ignored', 'message'),
    [
        ([0, 1, 1], [255], r'each number once, found \[1\]'),
        ([0, 255], [255], r'each number once, found \[255\]'),
        ([0, 70000], [255], r'numbers from 0 to 65535, found \[70000\]'),
        ([-1, 0], [255], r'numbers from 0 to 65535, found \[-1\]'),
    ],
)
def test_refuses_numbers_that_are_none(values, ignored, message):
    with pytest.raises(ValueError, match=message):
        LabelTable(values, ignored)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=12))
def test_ids_come_back_from_colours(ids):
    ids = np.array([ids])
    np.testing.assert_array_equal(segment_ids(colors_of(ids), 'a.png'), ids)


def test_labels_of_segments():
    ids = np.array([[0, 7, 7], [300, 8345037, 300]])
    found = labels_of_segments(ids, {7: 2, 300: 255, 8345037: 0, 5: 9}, 255, 'a.png')
    assert found.tolist() == [[255, 2, 2], [255, 0, 255]] and found.dtype == np.int32
    with pytest.raises(ValueError, match='a.png has 3 of 6 pixels of segments .* such as 300'):
        labels_of_segments(ids, {7: 2}, 255, 'a.png')


@pytest.mark.parametrize('array', [np.zeros((2, 3), np.uint8), np.zeros((2, 3, 4), np.uint8)])
def test_a_panoptic_file_has_three_colours(array):
    with pytest.raises(ValueError, match='a.png is no panoptic PNG'):
        segment_ids(array, 'a.png')


def test_what_is_no_picture(tmp_path):
    (tmp_path / 'text.png').write_text('no picture')
    write_numbers(tmp_path / 'whole.png', np.random.default_rng(0).integers(0, 256, (64, 64), 'u1'))
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'whole.png').read_bytes()[:900])
    for name in ('text', 'cut'):
        with pytest.raises(ValueError, match=f'{name}.png cannot be read as a picture'):
            read_numbers(str(tmp_path / f'{name}.png'))
    with pytest.raises(FileNotFoundError, match='there is no file at .*missing.png; check'):
        read_numbers(str(tmp_path / 'missing.png'))


def test_a_jpeg_has_other_numbers(tmp_path):
    """Than were written, so that none is read, though its size may be."""
    Image.fromarray(blocks([0, 9, 0, 9])).save(tmp_path / 'a.png', 'jpeg')
    with pytest.raises(ValueError, match='a.png is a JPEG, which changes the numbers of pixels'):
        read_numbers(str(tmp_path / 'a.png'))
    assert picture_shape(str(tmp_path / 'a.png')) == (24, 32)


def test_shapes(tmp_path):
    write_picture(tmp_path / 'a.jpg', (24, 40))
    assert picture_shape(str(tmp_path / 'a.jpg')) == (24, 40)
    check_shape((24, 40), (24, 40), 'a.png')
    with pytest.raises(ValueError, match='a.png has 30x20 pixels, but its picture 40x24; it may'):
        check_shape((20, 30), (24, 40), 'a.png')
    with pytest.raises(ValueError, match='a.png has 24x40 .* EXIF orientation'):
        check_shape((40, 24), (24, 40), 'a.png')
