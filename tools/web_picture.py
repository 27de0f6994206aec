"""Reads pictures that strangers sent, for tools/web_demo.py.

Decoding happens in a process of its own, this file run as a program, which has a time limit: a
JPEG of a megabyte can keep a decoder busy for an hour.
"""

import os
import subprocess
import sys

import numpy as np

#: What a picture may have: bytes, pixels, and its longer side in multiples of the shorter one.
MAX_BYTES, MAX_PIXELS, MAX_RATIO = 20_000_000, 50_000_000, 50
#: How long it may take to decode, in seconds.
MAX_SECONDS = 20
#: Larger pictures are made smaller, since every detection has a mask of the size of the picture.
MAX_SIDE = 1600
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'GIF')


def read_picture(file: str | None) -> np.ndarray:
    """An uploaded picture, (H, W, 3) uint8 BGR; its longer side has at most ``MAX_SIDE`` pixels.

    Args:
        file: Its path. Wherever the path comes from, only a regular file in the upload folder is
            read; see :func:`open_upload`.

    Raises:
        ValueError: There is none, or it was not uploaded, cannot be read, is too large or too
            thin, or takes too long to decode.
    """
    if file is None:
        raise ValueError('there is no picture; choose one')
    descriptor = open_upload(file)
    try:
        done = subprocess.run(
            [sys.executable, __file__],
            stdin=descriptor,
            capture_output=True,
            timeout=MAX_SECONDS,
            # OpenCV's own limit, should it see another size in the file than Pillow
            env={**os.environ, 'OPENCV_IO_MAX_IMAGE_PIXELS': str(MAX_PIXELS)},
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            f'the picture takes more than {MAX_SECONDS} seconds to read; save it anew and try again'
        ) from None
    finally:
        os.close(descriptor)
    if done.returncode:
        raise ValueError(done.stdout.decode() or 'the picture cannot be read')
    height, width = np.frombuffer(done.stdout, np.int64, 2)
    return np.frombuffer(done.stdout, np.uint8, offset=16).reshape(height, width, 3).copy()


def open_upload(file: str) -> int:
    """The descriptor of a regular file in ``GRADIO_TEMP_DIR``, where uploads and examples are.

    Gradio hands on whatever path a visitor names if the request does not call it a file.

    Raises:
        ValueError: It is not there, or is anything else, such as a link, a device or a pipe.
    """
    folder = os.path.realpath(os.environ.get('GRADIO_TEMP_DIR', os.devnull))
    try:
        resolved = os.path.realpath(file)
        if os.path.commonpath([resolved, folder]) != folder:
            raise ValueError
        # A pipe would wait for somebody to write into it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(resolved, flags)
    except (OSError, TypeError, ValueError):
        raise ValueError('the picture was not uploaded to this page; choose it again') from None
    if not os.path.isfile(descriptor) or os.fstat(descriptor).st_size > MAX_BYTES:
        os.close(descriptor)
        raise ValueError(f'the picture must be a file of at most {MAX_BYTES // 10**6} MB')
    return descriptor


def decode(content: bytes) -> np.ndarray:
    """A picture as :func:`read_picture` returns it.

    Raises:
        ValueError: It cannot be read, or is too large or too thin.
    """
    import io

    import cv2
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the limit here is lower, and says what was found
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:  # reads the head alone
            width, height = opened.size
    except OSError:
        width = height = 0
    if width * height > MAX_PIXELS:
        raise ValueError(
            f'the picture has {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million can '
            'be read'
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ValueError(
            f'the picture has {width} x {height} pixels, which is too thin to see something in; '
            f'one side may be {MAX_RATIO} times as long as the other'
        )
    encoded, mode = np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    picture = cv2.imdecode(encoded, mode) if width else None
    if picture is None:
        raise ValueError('the picture cannot be read; choose a JPEG, PNG or WebP file')
    if picture.dtype != np.uint8:  # 10 or 12 bits in 16 would be nearly black
        picture = cv2.convertScaleAbs(picture, alpha=255 / max(brightest(picture), 1))
    scale = MAX_SIDE / max(picture.shape[:2])
    if scale < 1:
        size = [round(side * scale) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    return picture


def brightest(deep: np.ndarray) -> int:
    """As that of mmdet_vild/compat/odd_pictures.py, which this process does not wait for."""
    largest = int(deep.max(where=deep < 65535, initial=0))
    if largest < 1 << 14:
        return largest
    step = max(1, max(deep.shape[:2]) // MAX_SIDE)  # all pixels may take a GB
    some = deep[::step, ::step]
    return int(np.quantile(some[some < 65535], 0.999)) if (some < 65535).any() else largest


def main() -> int:
    """Decode what comes in; what goes out is height, width and pixels, or what is wrong."""
    try:
        picture = decode(sys.stdin.buffer.read(MAX_BYTES + 1))
    except ValueError as error:
        sys.stdout.write(str(error))
        return 1
    sys.stdout.buffer.write(np.array(picture.shape[:2]).tobytes() + picture.tobytes())
    return 0


if __name__ == '__main__':
    sys.exit(main())
