"""The page of tools/web_demo.py, used by visitors with a real browser."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.apis import inference_detector, init_detector
from mmdet.structures import DetDataSample
from stock_world import OWN_TOOLS, StockWorld

from mmdet_vild.visualization import surest, word_color

pytestmark = [pytest.mark.slow, pytest.mark.browser]

DOCS = (Path(__file__).parents[2] / 'docs' / 'your_own_words.md').read_text()
#: No window, no graphics card, and nothing that the browser itself would ask its makers for.
SWITCHES = [
    *('--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'),
    *('--disable-background-networking', '--disable-component-update', '--disable-sync'),
]
WORDS = ['red heart', 'whale']


class Visitor:
    """Someone who has opened the page."""

    def __init__(self, browser, url: str, width: int = 1280, height: int = 500) -> None:
        self.page = browser.new_context(viewport=dict(width=width, height=height)).new_page()
        self.page.set_default_timeout(120_000)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on('request', lambda request: self.requests.append(request.url))
        self.page.on('pageerror', lambda error: self.complaints.append(str(error)))
        self.page.on('dialog', lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(url)
        self.page.locator('#detect').wait_for()

    def upload(self, picture: Path) -> None:
        """Choose a picture, and wait until the page shows it."""
        self.page.locator('#picture input[type=file]').set_input_files(picture)
        self.page.locator('#picture img').wait_for()

    def set_threshold(self, percent: int) -> None:
        """Type it, which asks at once."""
        self.forget()
        self.page.locator('#threshold input[type=number]').fill(str(percent))

    def begin(self, threshold: int, picture: Path) -> None:
        """Set the threshold, which asks in vain, and choose a picture."""
        self.set_threshold(threshold)
        self.wait_for('there is no picture')
        self.upload(picture)
        self.page.locator('.message').wait_for(state='detached')

    def ask(self, *words: str) -> None:
        """Type words, and press the button."""
        self.forget()
        self.page.locator('#words textarea').fill(' . '.join(words))
        self.page.locator('#detect').click()

    def sees_the_answer(self) -> bool:
        """The page has scrolled to where it begins, not too far, and is not wider than it shows."""
        begins = "document.querySelector('#answer').getBoundingClientRect().top"
        self.page.wait_for_function(f'{begins} >= 0 && {begins} < innerHeight / 2')
        return self.page.evaluate('document.scrollingElement.scrollWidth <= innerWidth')

    def forget(self) -> None:
        """The message of now is not the one to wait for next."""
        self.page.evaluate(
            "document.querySelectorAll('.message').forEach(e => e.classList.add('old'))"
        )

    def wait_for(self, message: str) -> None:
        """Wait for an answer; it must be this one."""
        new = self.page.locator('.message:not(.old)')
        new.wait_for()
        assert message in new.inner_text()

    def rows(self) -> list[list[str]]:
        """The texts of the cells of the table."""
        rows = self.page.locator('#found tr:has(td)')
        return [row.locator('td').all_inner_texts() for row in rows.all()]

    def drawn(self) -> np.ndarray:
        """The picture with the detections, RGB."""
        source = self.page.locator('#drawn img').get_attribute('src')
        content = np.frombuffer(self.page.request.get(source).body(), np.uint8)
        return cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1]

    def shows_nothing(self) -> bool:
        return not self.rows() and not self.page.locator('#drawn img').count()


@pytest.fixture(scope='module')
def pictures(world: StockWorld) -> list[Path]:
    return sorted((world.data / 'val2017').glob('*.jpg'))


@pytest.fixture(scope='module')
def url(world: StockWorld, vild: Path, pictures: list[Path]) -> Iterator[str]:
    """The address that the tool prints when it is started as the docs say."""
    (command,) = re.findall(r'^    python (tools/web_demo.py(?:.*\\\n)*.*)$', DOCS, re.M)
    for told, here in (
        ('tools', OWN_TOOLS),
        ('work_dirs/mini_lvis/vild', vild.parent),
        ('iter_600.pth', vild.name),
        ('data/mini_lvis/val2017/000000002800.jpg', pictures[2]),
    ):
        assert told in command
        command = command.replace(told, str(here))
    (world.root / 'words.txt').write_text('red heart\nblue ring\n')
    log = world.root / 'web_demo.log'
    with socket.create_server(('127.0.0.1', 0)) as outside, log.open('w') as errors:
        # Whatever it asks of other machines comes here.
        proxy = 'http://{}:{}'.format(*outside.getsockname())
        proxies = {f'{kind}_proxy': proxy for kind in ('http', 'https', 'all')}
        server = subprocess.Popen(
            [sys.executable, *shlex.split(command.replace('\\\n', ''))],
            cwd=world.root,
            env={
                **os.environ,
                **proxies,
                'no_proxy': '127.0.0.1,localhost',
                'CUDA_VISIBLE_DEVICES': '',
                'PYTHONUNBUFFERED': '1',
                'TMPDIR': str(world.root),
            },
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            printed = ''
            while 'Running on local URL' not in printed:
                line = server.stdout.readline()
                assert line, printed + log.read_text()
                printed += line
            (address,) = re.findall(r'http://127\.0\.0\.1:\d+', printed)
            yield address
            outside.setblocking(False)
            with pytest.raises(BlockingIOError):  # nobody called
                outside.accept()
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope='module')
def browser(browser_path: str) -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # With a new profile, which is empty.
        browser = playwright.chromium.launch(executable_path=browser_path, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser, url: str) -> Iterator[Visitor]:
    visitor = Visitor(browser, url)
    yield visitor
    assert all(asked.startswith((url, 'data:', 'blob:')) for asked in visitor.requests)
    assert not visitor.complaints
    visitor.page.context.close()


@pytest.fixture(scope='module')
def expected(world: StockWorld, vild: Path):
    """What MMDetection's own inference finds, as the rows of the table begin, and its boxes."""
    config = vild.parent / 'vild_r18-mini_fpn_mini-lvis.py'
    model = init_detector(str(config), str(vild), device='cpu')

    def detect(picture: Path, words: list[str] | None, threshold: int) -> list[tuple]:
        sample: DetDataSample = inference_detector(model, str(picture), None, words, True)
        found = surest(sample.pred_instances, 0.7)
        rows = [
            (
                ('★ ' if found.novel[i] else '') + found.label_names[i],
                f'{100 * found.scores[i]:.1f}',
                ', '.join(str(int(x)) for x in found.bboxes[i].round()),
            )
            for i in found.scores.argsort(descending=True).tolist()
            if found.scores[i] >= threshold / 100
        ]
        assert rows
        return rows

    return detect


def shown(visitor: Visitor) -> list[tuple]:
    return [(row[0], row[1], row[-1]) for row in visitor.rows()]


def test_a_visit(visitor: Visitor, pictures: list[Path], expected) -> None:
    """In a low window: the vocabulary, words, a threshold, wrong words, no picture any more."""
    rows = expected(pictures[0], WORDS, 0)
    threshold = int(float(rows[len(rows) // 2][1]))
    visitor.begin(0, pictures[0])
    visitor.ask()
    visitor.wait_for('found')
    assert shown(visitor) == expected(pictures[0], None, 0)
    head = visitor.page.locator('#found th').all_inner_texts()
    assert head[:3] == ['word', 'score', 'objectness']
    # another word has the next best score
    word, _, _, others, _ = visitor.rows()[0]
    assert re.fullmatch(r'.+ \d+\.\d\n.+ \d+\.\d', others) and word not in others

    visitor.ask(*WORDS)
    visitor.wait_for(f'{len(rows)} found, {len(rows)} of them novel')
    assert shown(visitor) == rows and visitor.sees_the_answer()
    visitor.set_threshold(threshold)
    visitor.wait_for('found')
    rows = expected(pictures[0], WORDS, threshold)
    assert shown(visitor) == rows
    check_picture(visitor.drawn(), rows[0])
    visitor.forget()
    visitor.page.locator('#threshold input[type=range]').press('End')
    visitor.wait_for('nothing found with a score of 100% or more\nLooked for 2 words')
    assert not visitor.rows()
    visitor.set_threshold(0)
    visitor.wait_for('found')

    # never a file of the server, and never a part of the page
    for word in ('words.txt', '<u>'):
        visitor.ask(word)
        visitor.page.locator('#found td', has_text=f'★ {word}').first.wait_for()
        assert {row[0] for row in visitor.rows()} == {f'★ {word}'}

    visitor.ask('word ' * 50)
    visitor.wait_for('more than the 20 tokens')
    assert visitor.shows_nothing()
    # what is shown belongs to the picture beside it
    visitor.ask(*WORDS)
    visitor.wait_for('found')
    visitor.page.get_by_label('Remove Image').click()
    visitor.page.locator('#found tr').first.wait_for(state='detached')
    assert visitor.shows_nothing() and not visitor.page.locator('#message').inner_text()


def check_picture(drawn: np.ndarray, best: tuple) -> None:
    """The best of ``WORDS`` has a box in its colour."""
    assert drawn.shape == (768, 768, 3)  # 128 pixels, enlarged to 720 or more
    x1, y1, x2, y2 = (6 * int(x) for x in best[-1].split(', '))
    color = word_color(WORDS.index(best[0].removeprefix('★ ')), True)
    near = np.abs(drawn.astype(int) - color).max(2)
    # One of three sides is not under labels. The table has rounded boxes.
    sides = [
        near[y1:y2, max(x1 - 8, 0) : x1 + 8].min(1),
        near[y1:y2, x2 - 8 : x2 + 8].min(1),
        near[y2 - 8 : y2 + 8, x1:x2].min(0),
    ]
    assert max((side < 40).mean() for side in sides) > 0.9


def test_two_visitors_at_once(
    visitor: Visitor, browser, url: str, pictures: list[Path], expected
) -> None:
    """Each gets the answer to the own question; the second has a telephone, and no picture."""
    other = Visitor(browser, url, width=390, height=844)
    visitor.begin(0, pictures[0])
    other.set_threshold(0)
    other.wait_for('there is no picture')
    other.page.locator('table img').first.click()
    other.page.locator('#picture img').wait_for()
    questions = {visitor: (pictures[0], WORDS), other: (pictures[2], ['blue circle'])}
    for guest, (_, words) in questions.items():
        guest.ask(*words)
    for guest, (picture, words) in questions.items():
        rows = expected(picture, words, 0)
        guest.wait_for(f'{len(rows)} found')
        assert shown(guest) == rows and guest.sees_the_answer()
    other.page.context.close()
