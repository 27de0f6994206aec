"""Images of every kind, through the stock transforms: a right sample, or an error that names it."""

import json

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.logging import MMLogger
from mmengine.logging.logger import FilterDuplicateWarning
from PIL import Image

import mmdet_vild.datasets  # noqa: F401 - registers the datasets

pytestmark = pytest.mark.onedl

WIDTH, HEIGHT = 60, 40
EXIF_ORIENTATION, ROTATED = 0x0112, 6


@pytest.fixture
def load(tmp_path):
    """Sample 0 of a dataset of one image."""

    def load(image: Image.Image | bytes, width=WIDTH, height=HEIGHT, box=(5, 5, 20, 20), **options):
        ann_file = tmp_path / options.pop('ann_file', 'lvis.json')
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = options.pop('orientation', 1)
        path = tmp_path / 'picture.jpg'
        path.write_bytes(image) if isinstance(image, bytes) else image.save(path, exif=exif)
        annotation = dict(
            id=1, image_id=1, category_id=1, bbox=box, area=box[2] * box[3], segmentation=[[0] * 6]
        )
        category = dict(id=1, name='cat', frequency='f')
        content = dict(
            images=[dict(id=1, coco_url='picture.jpg', width=width, height=height,
                         neg_category_ids=[], not_exhaustive_category_ids=[])],
            annotations=[annotation],
            categories=[category, dict(id=2, name='owl', frequency='r')],
        )  # fmt: skip
        ann_file.write_text(json.dumps(content))
        pipeline = [
            dict(type='LoadImageFromFile', **options),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(120, 80), keep_ratio=True),
            dict(type='PackDetInputs'),
        ]
        config = dict(
            type='OpenVocabularyLVISDataset',
            ann_file=str(ann_file),
            data_prefix=dict(img=str(tmp_path)),
            pipeline=[dict(step, type=f'mmdet.{step["type"]}') for step in pipeline],
        )
        config['pipeline'][0]['type'] = 'LoadImageFromFile'
        return DATASETS.build(config)[0]

    return load


def picture(mode: str, size=(WIDTH, HEIGHT)) -> Image.Image:
    return Image.new(mode, size, 128 if mode == 'L' else tuple([128] * len(mode)))


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
def test_colour_modes(load, mode):
    sample = load(picture(mode))
    assert sample['inputs'].shape == (3, 80, 120)
    np.testing.assert_allclose(
        sample['data_samples'].gt_instances.bboxes.tensor, [[10, 10, 50, 50]]
    )


def test_one_pixel(load):
    sample = load(picture('RGB', (1, 1)), 1, 1, (0, 0, 1, 1))
    assert sample['inputs'].shape == (3, 80, 80)
    np.testing.assert_allclose(sample['data_samples'].gt_instances.bboxes.tensor, [[0, 0, 80, 80]])


def test_exif_orientation(load):
    """The annotations follow it, or they do not."""
    rotated = dict(orientation=ROTATED)
    assert load(picture('RGB'), HEIGHT, WIDTH, **rotated)['inputs'].shape == (3, 120, 80)
    with pytest.raises(ValueError, match='has 40x60 pixels, but .* says 60x40; if .* EXIF .* load'):
        load(picture('RGB'), **rotated)
    sample = load(picture('RGB'), color_type='color_ignore_orientation', **rotated)
    assert sample['inputs'].shape == (3, 80, 120)


def test_another_size_than_annotated(load):
    with pytest.raises(ValueError, match='picture.jpg has 30x20 pixels, .* says 60x40; correct'):
        load(picture('RGB', (30, 20)))


@pytest.mark.parametrize('content', [b'', b'no picture', 'truncated'])
def test_broken_files(load, content, tmp_path):
    if content == 'truncated':
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / 'whole.jpg')
        content = (tmp_path / 'whole.jpg').read_bytes()[:30]
    with pytest.raises(Exception, match='picture.jpg'):
        load(content)


def test_every_file_is_reported(load, caplog):
    """Though MMLogger shows a warning only once."""
    logger = MMLogger.get_current_instance()
    caplog.handler.addFilter(FilterDuplicateWarning('twice'))
    logger.addHandler(caplog.handler)
    try:
        for name in ('train.json', 'val.json'):
            sample = load(picture('RGB'), box=(5, 5, 0, 10), ann_file=name)
            assert len(sample['data_samples'].gt_instances) == 0
            assert f'{name} may not say what is meant' in caplog.text
    finally:
        logger.removeHandler(caplog.handler)
