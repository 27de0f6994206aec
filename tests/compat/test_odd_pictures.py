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


def test_dark_pictures_of_8_bits():
    """Stay what they are."""
    picture = np.full((4, 5, 3), (1, 2, 3), np.uint8)
    content = cv2.imencode('.png', picture)[1].tobytes()
    np.testing.assert_array_equal(mmcv.imfrombytes(content), picture)
