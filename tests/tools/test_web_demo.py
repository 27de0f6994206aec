"""tools/web_demo.py without a browser: what a visitor may ask, and what is answered otherwise."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger

pytest.importorskip('gradio')


import web_demo


@pytest.mark.parametrize(
    'text, expected',
    [
        ('', None),
        (' . \n', None),
        ('cat', ['cat']),
        (' Sofa  bed /couch . words.txt / a / b .', ['Sofa bed /couch', 'words.txt / a / b']),
        (' . '.join(f'w{i}' for i in range(100)), [f'w{i}' for i in range(100)]),
    ],
)
def test_words(text: str, expected: list[str] | None) -> None:
    assert web_demo.read_words(text) == expected


def test_too_many_words() -> None:
    """Synonyms are encoded as words are."""
    with pytest.raises(ValueError, match='there are 101 words'):
        web_demo.read_words('cat . ' + ' / '.join(f'w{i}' for i in range(100)))


def test_pictures(tmp_path: Path) -> None:
    """As MMDetection reads them; large ones are made smaller, too large ones are not read."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    file = str(tmp_path / 'picture.png')
    cv2.imwrite(file, noise)
    assert np.array_equal(web_demo.read_picture(file), noise)
    cv2.imwrite(file, np.zeros((300, 3200, 3), np.uint8))
    assert web_demo.read_picture(file).shape == (150, 1600, 3)
    cv2.imwrite(file, np.zeros((7100, 7100), np.uint8))
    with pytest.raises(ValueError, match='7100 x 7100 pixels; at most 50 million'):
        web_demo.read_picture(file)


@pytest.mark.parametrize('part', [0, 0.5])
def test_no_picture(part: float, tmp_path: Path) -> None:
    """A file that is none, and one that ends too early."""
    file = tmp_path / 'picture.png'
    cv2.imwrite(str(file), np.zeros((90, 90, 3), np.uint8))
    content = file.read_bytes()
    file.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match='cannot be read; choose a JPEG'):
        web_demo.read_picture(str(file))


def test_whatever_goes_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """The visitor reads that something did, the log says what; no earlier answer remains."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)

    def detector(*question):
        raise RuntimeError('out of <memory>')

    try:
        said, drawn, table = web_demo.answer(detector, 'picture.jpg', '', 50)
    finally:
        logger.removeHandler(caplog.handler)
    assert 'the log of the server says why' in said and 'memory' not in said
    assert drawn is None and table == ''
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and 'out of <memory>' in caplog.text
