"""Very thin pictures are resized to a pixel at least, and those of 12 bits are not black."""

import cv2
import mmcv
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from mmdet.utils import register_all_modules

import mmdet_vild  # noqa: F401

pytestmark = pytest.mark.onedl


@pytest.mark.parametrize(
    ('size', 'expected'), [((4000, 1), (1333, 1)), ((1, 4000), (1, 1333)), ((40, 20), (1333, 667))]
)
def test_thin_pictures(size, expected):
    register_all_modules()
    resize = TRANSFORMS.build(dict(type='Resize', scale=(1333, 800), keep_ratio=True))
    results = Compose([resize])(dict(img=np.zeros((*size, 3), np.uint8)))
    assert results['img'].shape[:2] == expected
    factors = expected[1] / size[1], expected[0] / size[0]
    assert results['scale_factor'] == pytest.approx(factors)
    assert mmcv.rescale_size((1, 4000), (1333, 800)) == (1, 1333)


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_pictures_of_16_bits(bits, suffix, recwarn):
    picture = np.linspace(0, 2**bits - 1, 600).round().astype(np.uint16).reshape(20, 30)
    expected = (picture >> (bits - 8)).astype(np.uint8)
    if bits == 15:  # which uses half of the range, and may be a picture of 16 that is a bit dark
        expected >>= 1
    image = mmcv.imfrombytes(cv2.imencode(suffix, picture)[1].tobytes())
    np.testing.assert_array_equal(image, np.repeat(expected[..., None], 3, axis=2))
    said = [str(w.message) for w in recwarn if 'of 16 bits' in str(w.message)]
    assert len(said) == (bits < 15) and (not said or f'uses only {bits} of them' in said[0])


HOT = [(0, 1, 65535), (0, 2, 60000), (3, 20, 65535)]


@pytest.mark.parametrize(('rows', 'columns', 'value'), HOT, ids=['hot', 'hotter', 'label'])
@pytest.mark.parametrize('shape', [(60, 80), (60, 80, 3)])
def test_hot_pixels_and_labels(rows, columns, value, shape, recwarn, tmp_path):
    """Are white, and the rest is as bright as without them; of a file, too."""
    picture = np.random.default_rng(0).integers(0, 4096, shape).astype(np.uint16)
    expected = (picture >> 4).astype(np.uint8)
    picture[: rows + 1, :columns], expected[: rows + 1, :columns] = value, 255
    if len(shape) == 2:
        expected = np.repeat(expected[..., None], 3, axis=2)
    cv2.imwrite(str(tmp_path / 'deep.png'), picture)
    found = mmcv.imfrombytes((tmp_path / 'deep.png').read_bytes())
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(mmcv.imread(str(tmp_path / 'deep.png')), expected)
    assert any('uses only 12 of them' in str(w.message) for w in recwarn)


def test_bright_parts_of_a_picture_of_16_bits(recwarn):
    """Are no hot pixels where they are many; nor are white pixels alone a picture of few bits."""
    for value, rest in ((50000, 4000), (65535, 0)):
        picture = np.full((40, 40), rest, np.uint16)
        picture[:2, :2] = value
        image = mmcv.imfrombytes(cv2.imencode('.png', picture)[1].tobytes())
        np.testing.assert_array_equal(image[..., 0], (picture >> 8).astype(np.uint8))
    assert not [w for w in recwarn if 'of 16 bits' in str(w.message)]


def test_dark_pictures_of_8_bits():
    """Stay what they are."""
    picture = np.full((4, 5, 3), (1, 2, 3), np.uint8)
    content = cv2.imencode('.png', picture)[1].tobytes()
    np.testing.assert_array_equal(mmcv.imfrombytes(content), picture)
