"""Small pictures of noise, and label files of given numbers."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_picture(path: Path, shape: tuple[int, int] = (24, 32), seed: int = 0) -> None:
    """A picture of (height, width) pixels, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_numbers(path: Path, numbers: np.ndarray) -> None:
    """A label file with the bits of the array's type, or of colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numbers).save(path)


def blocks(numbers: Sequence[int], shape: tuple[int, int] = (24, 32), dtype=np.uint8) -> np.ndarray:
    """Columns of equal width, one a number, (height, width)."""
    columns = np.arange(shape[1]) * len(numbers) // shape[1]
    return np.broadcast_to(np.array(numbers, dtype)[columns], shape).copy()


def colors_of(ids: np.ndarray) -> np.ndarray:
    """Ids of segments as colours of a panoptic PNG, (H, W, 3) uint8."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def with_palette(numbers: np.ndarray) -> bytes:
    """A PNG of indices into a palette, as PASCAL VOC has them."""
    image = Image.fromarray(numbers).convert('P')
    image.putdata(numbers.ravel().tolist())
    image.putpalette(np.random.default_rng(3).integers(0, 256, 768).tolist())
    file = io.BytesIO()
    image.save(file, 'PNG')
    return file.getvalue()
