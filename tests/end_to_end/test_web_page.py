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

    def set_threshold(self, percent: int) -> None:
        """Type it, which asks at once."""
        self.forget()
        self.page.locator('#threshold input[type=number]').fill(str(percent))

    def begin(self, threshold: int, picture: Path) -> None:
        """Set the threshold, which asks in vain, and choose a picture."""
        self.set_threshold(threshold)
        self.wait_for('there is no picture')
        self.page.locator('#picture input[type=file]').set_input_files(picture)
        self.page.locator('#picture img').wait_for()
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

    def shown(self) -> list[tuple]:
        """Word, score and box of each row."""
        return [(row[0], row[1], row[-1]) for row in self.rows()]

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
        ('iter_700.pth', vild.name),
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
    """What MMDetection's own inference finds, as the rows of the table begin and end."""
    config = vild.parent / 'vild_lite0_fpn_mini-lvis.py'
    model = init_detector(str(config), str(vild), device='cpu')

    def detect(picture: Path, words: list[str | dict] | None) -> list[tuple]:
        found = inference_detector(model, str(picture), None, words, True).pred_instances
        found = surest(found, 0.7)
        return [
            (
                ('★ ' if found.novel[i] else '') + found.label_names[i],
                f'{100 * found.scores[i]:.1f}',
                ', '.join(str(int(x)) for x in found.bboxes[i].round()),
            )
            for i in found.scores.argsort(descending=True).tolist()
        ]

    return detect


def test_a_visit(visitor: Visitor, pictures: list[Path], expected) -> None:
    """In a low window: the vocabulary, words, a threshold, wrong words, no picture any more."""
    visitor.begin(0, pictures[0])
    visitor.ask()
    visitor.wait_for('found')
    assert visitor.shown() == expected(pictures[0], None)
    # another word has the next best score
    word, _, _, others, _ = visitor.rows()[0]
    assert re.fullmatch(r'.+ \d+\.\d\n.+ \d+\.\d', others) and word not in others

    rows = expected(pictures[0], WORDS)
    visitor.ask(*WORDS)
    visitor.wait_for(f'{len(rows)} found, {len(rows)} of them novel')
    assert visitor.shown() == rows and visitor.sees_the_answer()
    threshold = 1 + int(float(rows[len(rows) // 2][1]))  # another than it was, 0
    visitor.set_threshold(threshold)
    visitor.wait_for('found')
    assert visitor.shown() == [row for row in rows if float(row[1]) >= threshold]
    check_picture(visitor.drawn(), rows[0])
    visitor.forget()
    visitor.page.locator('#threshold input[type=range]').press('End')
    visitor.wait_for('nothing found with a score of 100% or more\nLooked for 2 words')
    visitor.set_threshold(0)
    visitor.wait_for('found')

    # a picture of something in place of words, and beside one
    x1, y1, x2, y2 = (int(x) for x in rows[0][-1].split(', '))
    crop = cv2.imread(str(pictures[0]))[y1:y2, x1:x2]
    example = pictures[0].parent.parent / 'example.png'
    cv2.imwrite(str(example), crop)
    visitor.page.locator('#example input[type=file]').set_input_files(example)
    visitor.page.locator('#example img').wait_for()
    it = dict(name='your example', examples=[str(example)])
    for words in ([], WORDS[:1]):
        rows = expected(pictures[0], [*words, it])
        visitor.ask(*words)
        visitor.wait_for(f'{len(rows)} found')
        assert visitor.shown() == rows
        assert {row[0] for row in rows} <= {f'★ {word}' for word in (*words, 'your example')}
    visitor.page.locator('#example').get_by_label('Remove Image').click()
    visitor.page.locator('#example img').wait_for(state='detached')

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
    visitor.page.locator('#picture').get_by_label('Remove Image').click()
    visitor.page.locator('#found tr').first.wait_for(state='detached')
    assert visitor.shows_nothing() and not visitor.page.locator('#message').inner_text()


def check_picture(drawn: np.ndarray, best: tuple) -> None:
    """The best of ``WORDS`` has a box in its colour."""
    assert drawn.shape == (768, 768, 3)  # 128 pixels, enlarged to 720 or more
    x1, y1, x2, y2 = (6 * int(x) for x in best[-1].split(', '))
    color = word_color(WORDS.index(best[0].removeprefix('★ ')), True)
    near = np.abs(drawn.astype(int) - color).max(2) < 40
    # One of three sides is not under labels. The table has rounded boxes.
    left, right = (near[y1:y2, max(x - 8, 0) : x + 8].any(1) for x in (x1, x2))
    # labels and other boxes may lie on it
    assert max(side.mean() for side in (left, right, near[y2 - 8 : y2 + 8, x1:x2].any(0))) > 0.5


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
    for guest, question in questions.items():
        rows = expected(*question)
        guest.wait_for(f'{len(rows)} found')
        assert guest.shown() == rows and guest.sees_the_answer()
    other.page.context.close()
