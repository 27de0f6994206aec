"""Crops against Pillow and open_clip's own preprocessing."""

from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from mmdet_vild.teacher import OpenCLIPTeacher, crops

pytestmark = pytest.mark.onedl

HEIGHT, WIDTH, SIZE = 150, 200, (48, 48)
WAYS = {'one by one': crops._resize_each, 'in groups': crops._resize_groups}


def resized(way, image: np.ndarray, cut: torch.Tensor, mode: str, size=SIZE) -> np.ndarray:
    """(n, h, w, 3) of 0 to 255, of windows of one RGB image."""
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    owners, zero, one = torch.zeros(len(cut)).long(), torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    return way(pixels, owners, cut, size, mode, zero, one).numpy().transpose(0, 2, 3, 1)


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
    if mode == 'pad_black':
        square, side = Image.new('RGB', (max(crop.size),) * 2), max(crop.size)
        square.paste(crop, ((side - crop.width) // 2, (side - crop.height) // 2))
        crop = square
    if mode in ('squash', 'pad_black'):
        return np.asarray(crop.resize(SIZE[::-1], Image.BICUBIC), float)
    if mode == 'centre_crop':
        return np.asarray(CenterCrop(SIZE)(Resize(SIZE[0], InterpolationMode.BICUBIC)(crop)), float)
    ratio = SIZE[0] / max(crop.size)
    width, height = (max(round(ratio * length), 1) for length in crop.size)
    result = np.zeros((*SIZE, 3))
    left, top = (SIZE[1] - width) // 2, (SIZE[0] - height) // 2
    resized = np.asarray(crop.resize((width, height), Image.BICUBIC), float)
    result[top : top + height, left : left + width] = resized
    return result


@pytest.mark.parametrize('mode', get_args(crops.CropMode))
@pytest.mark.parametrize('way', WAYS)
def test_is_pillows(way: str, mode: str) -> None:
    """To a grey level or two: Pillow rounds after each axis, and clips, beside edges of black."""
    image, cut = picture(low=90, high=166), windows(80)
    found = resized(WAYS[way], image, cut, mode)
    for crop, window in zip(found, cut.tolist(), strict=True):
        expected = by_pillow(image, window, mode)
        if mode != 'pad_black':  # which has edges
            assert np.array_equal(crop == 0, expected == 0), window  # where padded
        difference = np.abs(crop - expected)
        most = 10 if mode == 'pad_black' else 2
        assert difference.mean() < 0.6 and difference.max() <= most, (window, difference.max())
    overshooting = resized(WAYS[way], picture(), cut, mode)
    assert overshooting.min() >= 0 and overshooting.max() <= 255
    for crop, window in zip(overshooting, cut.tolist(), strict=True):
        assert np.abs(crop - by_pillow(picture(), window, mode)).mean() < 0.6, window


@pytest.mark.parametrize('mode', get_args(crops.CropMode))
@pytest.mark.parametrize('size', [SIZE, (40, 56)])
def test_windows_of_many_images_share_groups(mode: str, size: tuple[int, int]) -> None:
    """Images of several sizes, in an order that goes to and fro, normalised."""
    images = [picture(), picture(1)[:90, :70], picture(2)[:20]]
    pixels = torch.zeros(3, 3, HEIGHT, WIDTH, dtype=torch.uint8)
    for place, image in zip(pixels, images, strict=True):
        place[:, : image.shape[0], : image.shape[1]] = torch.from_numpy(image).permute(2, 0, 1)
    owners = torch.arange(60) % 3
    cut = windows(60)
    for i, image in enumerate(images):
        height, width = image.shape[:2]
        cut[owners == i] = crops.crop_windows(cut[owners == i].float(), 1.0, (height, width))
    mean, std = (
        torch.tensor([90.3, 120.3, 150.3]).view(3, 1, 1),
        torch.tensor([2.0, 4, 8]).view(3, 1, 1),
    )
    each, groups = (way(pixels, owners, cut, size, mode, mean, std) for way in WAYS.values())
    assert each.shape == groups.shape == (60, 3, *size)
    # To a grey level where nothing overshoots; one by one is rounded after each axis.
    difference = ((each - groups) * std).abs()
    assert difference.mean() < 0.6 and (difference < 3).double().mean() > 0.999
    alone = resized(crops._resize_each, images[1], cut[1::3], mode, size)
    expected = (alone - mean.flatten().numpy()) / std.flatten().numpy()
    if mode != 'pad':
        np.testing.assert_array_equal(each[1::3].permute(0, 2, 3, 1), expected)
    else:
        assert (each == 0).any() and torch.equal(each == 0, groups == 0)


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('axis', [0, 1])
def test_the_centre_of_a_thin_window(way: str, axis: int, monkeypatch) -> None:
    """It is not resized to millions of pixels first, to cut them off again."""
    monkeypatch.delattr(crops, 'resize')
    image = np.linspace(0, 255, 3 * 3000).astype(np.uint8).reshape(1, 3000, 3)
    image = np.ascontiguousarray(image.swapaxes(0, axis))
    height, width = image.shape[:2]
    cut = torch.tensor([[0, 0, width, height]])
    found = resized(WAYS[way], image, cut, 'centre_crop')
    assert found.shape == (1, *SIZE, 3)
    expected = by_pillow(image, cut[0].tolist(), 'centre_crop')
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1)


def test_large_windows_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    image, cut = picture(), windows(20)
    expected = resized(crops._resize_groups, image, cut, 'squash')
    monkeypatch.setattr(crops, '_MOST_ELEMENTS', 1)
    monkeypatch.setattr(crops, '_BUCKETS', (16, 32))
    found = resized(crops._resize_groups, image, cut, 'squash')
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)


def test_precision_of_crops() -> None:
    torch.manual_seed(0)
    teacher = OpenCLIPTeacher('mini-clip')
    expected = teacher.encode_images(teacher.crops(picture(), windows(9)))
    teacher.autocast = 'bfloat16'
    found = teacher.encode_images(teacher.crops(picture(), windows(9)))
    assert found.dtype == torch.float32 and torch.equal(found, found.bfloat16().float())
    assert not torch.equal(found, expected)
    assert torch.cosine_similarity(found, expected).min() > 0.99


@pytest.mark.gpu
@pytest.mark.parametrize('mode', get_args(crops.CropMode))
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
