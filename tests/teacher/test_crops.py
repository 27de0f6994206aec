"""Crops against Pillow and open_clip's own preprocessing."""

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from mmdet_vild.teacher import OpenCLIPTeacher, crops

pytestmark = pytest.mark.onedl

HEIGHT, WIDTH, SIZE = 150, 200, (48, 48)
WAYS = {'one by one': crops._resize_each, 'in groups': crops._resize_groups}


def picture(seed: int = 0, low: int = 0, high: int = 256) -> np.ndarray:
    """RGB blocks with some noise."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(low, high, (15, 20, 3)), np.ones((10, 10, 1)))
    return (blocks + rng.normal(0, 8, blocks.shape)).clip(0, 255).astype(np.uint8)


def windows(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    size = rng.uniform(1, (WIDTH, HEIGHT), (count, 2))
    start = rng.uniform(0, 1, (count, 2)) * ((WIDTH, HEIGHT) - size)
    boxes = np.concatenate([start, start + size], axis=1).astype(np.float32)
    return crops.crop_windows(torch.from_numpy(boxes), 1.0, (HEIGHT, WIDTH))


def by_pillow(image: np.ndarray, window: list[int], mode: str) -> np.ndarray:
    crop = Image.fromarray(image[window[1] : window[3], window[0] : window[2]])
    if mode == 'squash':
        return np.asarray(crop.resize(SIZE[::-1], Image.BICUBIC), float)
    if mode == 'centre_crop':
        return np.asarray(CenterCrop(SIZE)(Resize(SIZE[0], InterpolationMode.BICUBIC)(crop)), float)
    ratio = SIZE[0] / max(crop.size)
    width, height = (max(round(ratio * length), 1) for length in crop.size)
    result = np.full((*SIZE, 3), -1.0)
    left, top = (SIZE[1] - width) // 2, (SIZE[0] - height) // 2
    resized = np.asarray(crop.resize((width, height), Image.BICUBIC), float)
    result[top : top + height, left : left + width] = resized
    return result


@pytest.mark.parametrize('mode', crops.CROP_MODES)
@pytest.mark.parametrize('way', WAYS)
def test_is_pillows(way: str, mode: str) -> None:
    """To a grey level or two: Pillow rounds after each axis."""
    image, cut = picture(low=90, high=166), windows(80)
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())
    found = WAYS[way](pixels, cut, SIZE, mode).numpy().transpose(0, 2, 3, 1)
    for crop, window in zip(found, cut.tolist(), strict=True):
        expected = by_pillow(image, window, mode)
        assert np.array_equal(crop < 0, expected < 0), window
        difference = np.abs(crop - expected)
        assert difference.mean() < 0.6 and difference.max() <= 2, (window, difference.max())


@pytest.mark.parametrize('way', WAYS)
def test_overshoot_is_clipped(way: str) -> None:
    """Pillow clips after each axis, so it may differ beside edges from black to white."""
    image, cut = picture(), windows(80)
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())
    found = WAYS[way](pixels, cut, SIZE, 'squash').numpy().transpose(0, 2, 3, 1)
    assert found.min() >= 0 and found.max() <= 255
    for crop, window in zip(found, cut.tolist(), strict=True):
        assert np.abs(crop - by_pillow(image, window, 'squash')).mean() < 0.6, window


@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from(crops.CROP_MODES))
def test_groups_do_not_depend_on_each_other(seed: int, count: int, mode: str) -> None:
    image, cut = torch.from_numpy(picture().transpose(2, 0, 1).copy()), windows(count, seed)
    together = crops._resize_groups(image, cut, SIZE, mode)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        crops._resize_groups(image, cut[order], SIZE, mode), together[order], rtol=0, atol=1e-2
    )
    assert together.min() >= -1 and together.max() <= 255


def test_large_windows_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    image, cut = torch.from_numpy(picture().transpose(2, 0, 1).copy()), windows(20)
    expected = crops._resize_groups(image, cut, SIZE, 'squash')
    monkeypatch.setattr(crops, '_MOST_ELEMENTS', 1)
    monkeypatch.setattr(crops, '_BUCKETS', (16, 32))
    found = crops._resize_groups(image, cut, SIZE, 'squash')
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize('way', WAYS)
def test_embeddings_are_those_of_open_clips_preprocessing(way, monkeypatch) -> None:
    """On the mini teacher, centre crops: what open_clip itself makes of them."""
    torch.manual_seed(0)
    teacher = OpenCLIPTeacher('mini-clip', crop_mode='centre_crop')
    preprocess = open_clip.image_transform(teacher.input_size, is_train=False)
    monkeypatch.setattr('mmdet_vild.teacher.open_clip_teacher.resize_windows', WAYS[way])
    cosines = []
    for seed in range(5):
        image, boxes = picture(seed), windows(40, seed).float()
        found = teacher.encode_crops(image[..., ::-1], boxes)
        expected = 0
        for scale in crops.CROP_SCALES:
            cut = crops.crop_windows(boxes, scale, image.shape[:2]).tolist()
            batch = torch.stack(
                [preprocess(Image.fromarray(image[y1:y2, x1:x2])) for x1, y1, x2, y2 in cut]
            )
            with torch.no_grad():
                expected = expected + teacher.model.encode_image(batch)
        cosines.append(torch.cosine_similarity(found, expected))
    cosines = torch.cat(cosines)
    assert cosines.mean() >= 0.999 and cosines.min() >= 0.99


@pytest.mark.gpu
@pytest.mark.parametrize('mode', crops.CROP_MODES)
@pytest.mark.parametrize('autocast', [None, 'float16'])
def test_a_gpu_sees_what_the_cpu_sees(mode: str, autocast: str | None) -> None:
    """And in its batches images do not disturb each other."""
    torch.manual_seed(0)
    teacher = OpenCLIPTeacher('mini-clip', crop_mode=mode, batch_size=50)
    images, boxes = [picture(i) for i in range(3)], [windows(40, i).float() for i in range(3)]
    expected = torch.cat(teacher.encode_regions(images, boxes))
    teacher.autocast = autocast
    found = torch.cat(teacher.to('cuda').encode_regions(images, boxes))
    cosines = torch.cosine_similarity(found, expected)
    assert cosines.mean() >= 0.999 and cosines.min() >= 0.99
