"""Very thin pictures are resized to a pixel at least, and those of 12 bits are not black."""

import cv2
import mmcv
import numpy as np
import pytest
from mmdet.apis.det_inferencer import DetInferencer
from mmengine.registry import init_default_scope

import mmdet_vild  # noqa: F401

pytestmark = pytest.mark.onedl


@pytest.fixture
def prepare():
    """The test pipeline, as DetInferencer makes it."""
    init_default_scope('mmdet')
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(1333, 800), keep_ratio=True),
        dict(type='PackDetInputs', meta_keys=('ori_shape', 'img_shape', 'scale_factor')),
    ]
    from mmengine.config import ConfigDict

    config = ConfigDict(test_dataloader=dict(dataset=dict(pipeline=pipeline)))
    return DetInferencer._init_pipeline(DetInferencer.__new__(DetInferencer), config)


@pytest.mark.parametrize(
    ('size', 'expected'), [((4000, 1), (1333, 1)), ((1, 4000), (1, 1333)), ((40, 20), (1333, 667))]
)
def test_thin_pictures(prepare, size, expected):
    sample = prepare(np.zeros((*size, 3), np.uint8))
    assert sample['inputs'].shape[1:] == expected
    factors = sample['data_samples'].scale_factor
    assert factors == pytest.approx((expected[1] / size[1], expected[0] / size[0]))
    assert mmcv.rescale_size((1, 4000), (1333, 800)) == (1, 1333)


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_pictures_of_16_bits(prepare, bits, suffix, tmp_path, recwarn):
    values = np.linspace(0, 2**bits - 1, 600).round().astype(np.uint16)
    picture, path = values.reshape(20, 30), str(tmp_path / f'picture{suffix}')
    cv2.imwrite(path, picture)
    expected = (picture >> (bits - 8)).astype(np.uint8)
    image = mmcv.imfrombytes((tmp_path / f'picture{suffix}').read_bytes())
    if bits == 15:  # which uses half of the range, and may be a picture of 16 that is a bit dark
        expected >>= 1
    np.testing.assert_array_equal(image, np.repeat(expected[..., None], 3, axis=2))
    said = [str(w.message) for w in recwarn if 'of 16 bits' in str(w.message)]
    assert len(said) == (bits < 15) and (not said or f'uses only {bits} of them' in said[0])
    assert prepare(path)['inputs'].max() == expected.max()


def test_dark_pictures_of_8_bits():
    """Stay what they are."""
    picture = np.full((4, 5, 3), (1, 2, 3), np.uint8)
    content = cv2.imencode('.png', picture)[1].tobytes()
    np.testing.assert_array_equal(mmcv.imfrombytes(content), picture)
