"""Pictures that are given in place of a word."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np

#: How :attr:`Example.name` looks.
_PICTURE = re.compile('picture:[0-9a-f]{16}')


@dataclass(frozen=True, eq=False)
class Example:
    """A picture of what is looked for.

    Attributes:
        image: (H, W, 3) uint8, BGR as mmcv loads it.
        box: (4,) float32, where in it, ``x1, y1, x2, y2`` in pixels.
    """

    image: np.ndarray
    box: np.ndarray

    @property
    def name(self) -> str:
        """str: what stands for it among the synonyms of a word; it depends on the content."""
        content = hashlib.sha256(repr((self.image.shape, self.box.tolist())).encode())
        content.update(np.ascontiguousarray(self.image).data)
        return f'picture:{content.hexdigest()[:16]}'


def is_picture(synonym: str) -> bool:
    """Whether a synonym is the name of an :class:`Example`."""
    return bool(_PICTURE.fullmatch(synonym))


def read_examples(category: Mapping, where: str, folder: str | Path = '') -> dict:
    """Read the pictures of ``dict(name='my mug', examples=['mug.png'])``.

    Args:
        category: ``examples`` is a list. Each of it is a picture, of which all is meant, or
            ``dict(image=.., box=[x1, y1, x2, y2])`` in pixels; a picture is the path of a file, or
            an array (H, W, 3) uint8, BGR.
        where: What to call the category in errors.
        folder: Of relative paths.

    Returns:
        ``examples``, a list of :class:`Example`; ``synonyms``, their names, a repeated picture
        once; and ``frequency``, by default that of novel categories: nobody annotated it.

    Raises:
        FileNotFoundError: There is no such picture.
        ValueError: A picture or a box is none, or shows nothing; or there are synonyms too.
    """
    examples = category['examples']
    if category.get('synonyms'):
        raise ValueError(
            f'{where} has both "synonyms" and "examples"; a word is either encoded from texts or '
            'from pictures: make two words of it'
        )
    if not isinstance(examples, list | tuple) or not examples:
        raise ValueError(
            f'{where}: "examples" must be a list of pictures such as ["mug.png"], found '
            f'{_shown(examples)}'
        )
    read = {example.name: example for example in (_read(e, where, folder) for e in examples)}
    frequency = category.get('frequency') or 'r'
    return dict(examples=list(read.values()), synonyms=list(read), frequency=frequency)


def _read(example: object, where: str, folder: str | Path) -> Example:
    given = dict(example) if isinstance(example, Mapping) else dict(image=example)
    image, box = given.pop('image', None), given.pop('box', None)
    called = image if isinstance(image, str | Path) else 'a picture'
    if given or not isinstance(image, str | Path | np.ndarray):
        raise ValueError(
            f'{where}: an example is the path of a picture, an array, or dict(image=.., box=[x1, '
            f'y1, x2, y2]), found {_shown(example)}'
        )
    if not isinstance(image, np.ndarray):
        path = Path(folder, image)
        if not path.is_file():
            raise FileNotFoundError(f'{where}: there is no picture at {path}')
        image = mmcv.imread(str(path))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ValueError(
            f'{where}: {called} cannot be read as a picture of (H, W, 3) uint8 pixels, in colour'
        )
    height, width = image.shape[:2]
    box = [0, 0, width, height] if box is None else box
    if not _is_box(box):
        raise ValueError(
            f'{where}: the box of {called} must be 4 numbers, x1, y1, x2, y2, found {box!r}'
        )
    x1, y1, x2, y2 = np.clip(np.asarray(box, np.float32), 0, [width, height, width, height])
    if x2 - x1 < 1 or y2 - y1 < 1:
        raise ValueError(
            f'{where}: of {called}, {width} x {height} pixels, the box {list(box)} shows less than '
            'a pixel; a box is x1, y1, x2, y2'
        )
    return Example(image, np.array([x1, y1, x2, y2], np.float32))


def _is_box(box: object) -> bool:
    try:
        box = np.asarray(box, np.float64)
    except (TypeError, ValueError):
        return False
    return box.shape == (4,) and bool(np.isfinite(box).all())


def _shown(value: object) -> str:
    """Of an array, its shape."""
    shape = getattr(value, 'shape', None)
    return f'an array of shape {shape}' if shape is not None else repr(value)
