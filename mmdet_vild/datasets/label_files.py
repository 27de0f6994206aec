"""Label files of segmentation: pictures whose pixels are numbers of classes, or ids of segments."""

import io
from collections.abc import Collection, Sequence

import numpy as np
from mmengine import fileio
from PIL import Image, UnidentifiedImageError

#: The largest number that a pixel of a file of 8 and of 16 bits can be.
BYTE, WORD = 255, 65535
#: What a number stands for that is neither a class nor ignored.
UNKNOWN = -1


class LabelTable:
    """What the numbers in the label files of a data set stand for.

    Args:
        values: (C,) the number of each class.
        ignored: Numbers of pixels that are of no class; may have none.
        dropped: Labels of classes whose pixels are ignored too.

    Attributes:
        ignore_index: The label of pixels that are of no class: 255, or 65535 of more than 255
            classes, whatever the files have for it.
        needs_16_bit: Whether a file of 8 bits cannot have all the numbers.

    Raises:
        ValueError: A number is no number of a pixel, or stands for two things.
    """

    def __init__(
        self, values: Sequence[int], ignored: Collection[int], dropped: Collection[int] = ()
    ) -> None:
        numbers = [*values, *ignored]
        if wrong := [n for n in numbers if not 0 <= n <= WORD]:
            raise ValueError(f'pixels of label files are numbers from 0 to {WORD}, found {wrong}')
        if len(set(numbers)) < len(numbers):
            repeated = sorted({n for n in numbers if numbers.count(n) > 1})
            raise ValueError(
                f'label_values and ignored_values must have each number once, found {repeated} '
                'more than once'
            )
        self.count = len(values)
        self.ignore_index = BYTE if len(values) <= BYTE else WORD
        self.needs_16_bit = max(values) > BYTE
        self._labels = np.full(WORD + 2, UNKNOWN, np.int32)
        self._labels[list(ignored)] = self.ignore_index
        self._labels[list(values)] = np.arange(len(values))
        self._labels[[values[label] for label in dropped]] = self.ignore_index

    def labels(self, numbers: np.ndarray, path: str) -> np.ndarray:
        """The classes of pixels.

        Args:
            numbers: (H, W), of the file.
            path: Of the file, for errors.

        Returns:
            (H, W) int32, labels from 0 and ``ignore_index``.

        Raises:
            ValueError: These are no numbers of classes, or not of these.
        """
        if numbers.ndim != 2:
            raise ValueError(
                f'{path} has colours, not one number a pixel; name the folder and the suffix of '
                'label files (data_prefix.seg_map_path, seg_map_suffix)'
            )
        if self.needs_16_bit and numbers.dtype.itemsize == 1:
            raise ValueError(
                f'{path} has 8 bits a pixel, too few for the numbers of {self.count} classes; '
                'write it with 16 bits, as the converters in tools/dataset_converters do'
            )
        if numbers.dtype.kind == 'f':
            raise ValueError(
                f'{path} has pixels of the type {numbers.dtype}, not whole numbers; write it with '
                '8 or 16 bits a pixel'
            )
        at = numbers
        if numbers.dtype not in (np.uint8, np.uint16):
            at = np.where((numbers >= 0) & (numbers <= WORD), numbers, WORD + 1)
        labels = self._labels[at]
        if (unknown := labels == UNKNOWN).any():
            found, counts = np.unique(numbers[unknown], return_counts=True)
            raise ValueError(
                f'{path} has {counts.sum():,} of {numbers.size:,} pixels of the numbers '
                f'{found[:10].tolist()}, which are neither one of the {self.count} classes nor '
                'ignored; if it is not the label file of another data set, correct label_values '
                'and ignored_values'
            )
        return labels


def read_numbers(path: str, backend_args: dict | None = None) -> np.ndarray:
    """The pixels of a PNG, TIFF or the like, (H, W) or (H, W, 3); of a palette, its indices.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no picture, is cut off, or is a JPEG.
    """
    return np.asarray(_opened(path, backend_args, whole=True))


def picture_shape(path: str, backend_args: dict | None = None) -> tuple[int, int]:
    """Height and width of a picture, as the file says.

    Raises:
        FileNotFoundError, ValueError: As :func:`read_numbers`.
    """
    return _opened(path, backend_args, whole=False).size[::-1]


def _opened(path: str, backend_args: dict | None, whole: bool) -> Image.Image:
    try:
        content = fileio.get(path, backend_args=backend_args)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'there is no file at {path}; check data_root, data_prefix, img_suffix and '
            'seg_map_suffix of the data set'
        ) from error
    try:
        image = Image.open(io.BytesIO(content))
        if whole and image.format in ('JPEG', 'MPO'):
            raise ValueError(
                f'{path} is a JPEG, which changes the numbers of pixels where classes meet; name '
                'the folder and the suffix of label files (data_prefix.seg_map_path, '
                'seg_map_suffix), or write them as PNG from what they were made of'
            )
        if whole:
            image.load()
        return image
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f'{path} cannot be read as a picture: {error}') from error


def segment_ids(colors: np.ndarray, path: str) -> np.ndarray:
    """The ids of segments of a panoptic PNG of COCO's format: R + 256 G + 65536 B.

    Args:
        colors: (H, W, 3) uint8, RGB.
        path: Of the file, for errors.

    Returns:
        (H, W) int32; 0 is no segment.

    Raises:
        ValueError: There are no three colours of 8 bits.
    """
    if colors.ndim != 3 or colors.shape[2] != 3 or colors.dtype != np.uint8:
        raise ValueError(
            f'{path} is no panoptic PNG, of three colours of 8 bits; found an array of shape '
            f'{colors.shape} and type {colors.dtype}'
        )
    return colors.astype(np.int32) @ np.array([1, 256, 65536], np.int32)


def labels_of_segments(
    ids: np.ndarray, labels: dict[int, int], ignore_index: int, path: str
) -> np.ndarray:
    """The classes of pixels of segments.

    Args:
        ids: (H, W), as :func:`segment_ids` returns them.
        labels: Of each segment, its label, or ``ignore_index``.
        ignore_index: The label of pixels of no segment.
        path: Of the file, for errors.

    Returns:
        (H, W) int32.

    Raises:
        ValueError: A pixel is of a segment that is none of these.
    """
    known = {0: ignore_index, **labels}
    numbers = np.array(sorted(known))
    places = np.searchsorted(numbers, ids).clip(max=len(numbers) - 1)
    if (unknown := numbers[places] != ids).any():
        raise ValueError(
            f'{path} has {unknown.sum():,} of {ids.size:,} pixels of segments that the annotation '
            f'file does not have for it, such as {ids[unknown].min()}; it may be of another '
            'picture, or of another version of the annotations'
        )
    return np.array([known[number] for number in numbers.tolist()], np.int32)[places]


def check_shape(labels: tuple[int, int], image: tuple[int, int], path: str) -> None:
    """Raise a ValueError unless a label file has the (height, width) of its picture."""
    if tuple(labels) != tuple(image):
        advice = 'it may be of another picture, or resized without it'
        if tuple(labels) == tuple(image)[::-1]:
            advice = (
                'if the picture has an EXIF orientation that the labels do not follow, load it '
                'with LoadImageFromFile(color_type="color_ignore_orientation")'
            )
        raise ValueError(
            f'{path} has {labels[1]}x{labels[0]} pixels, but its picture {image[1]}x{image[0]}; '
            f'{advice}'
        )
