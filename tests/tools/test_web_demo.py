"""tools/web_demo.py without a browser: what a visitor may ask, and what is answered otherwise."""

import contextlib
import html
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

pytest.importorskip('gradio')


import web_demo
import web_picture
from gradio import processing_utils

from mmdet_vild.compat import odd_pictures
from mmdet_vild.vocabulary import TextEmbeddings


@pytest.mark.parametrize(
    'text, expected',
    [
        ('', None),
        (' . ,\n', None),
        ('cat', ['cat']),
        (' Sofa  bed /couch . words.txt / a / b .', ['Sofa bed /couch', 'words.txt / a / b']),
        ('★ cat, dog;owl、kiwi\r\n/etc/passwd,\n', ['cat', 'dog', 'owl', 'kiwi', '/etc/passwd']),
        ('猫。犬\tcat | dog\n• mug\u2028owl।', ['猫', '犬', 'cat', 'dog', 'mug', 'owl']),
        (' . '.join(f'w{i}' for i in range(100)), [f'w{i}' for i in range(100)]),
    ],
)
def test_words(text: str, expected: list[str] | None) -> None:
    assert web_demo.read_words(text) == expected


@pytest.mark.parametrize(
    'text, complaint',
    [
        # Synonyms are encoded as words are.
        ('cat . ' + ' / '.join(f'w{i}' for i in range(100)), 'there are 101 words'),
        ('cat. dog', 'may be one word or two: write a comma'),
        ('cat, Cat', 'words 1 and 2 of 2 are the same'),
        ('x' * 10_001, 'at most 10000 letters'),
        (['cat'], 'words are a text'),
    ],
)
def test_not_words(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        web_demo.read_words(text)


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of uploaded files."""
    folder = tmp_path / 'uploads'
    folder.mkdir()
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(folder))
    return folder


NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
#: Near black if it is not scaled by its range.
DEEP = np.linspace(0, 4095, 2400).reshape(40, 60).astype(np.uint16)
#: The same with a hot pixel, and with a label that is burned in.
HOT, LABELLED = DEEP.copy(), DEEP.copy()
HOT[0, 0] = 60000
LABELLED[:3, :20] = 65535


def of_12_bits(picture: np.ndarray) -> np.ndarray:
    picture = (picture.clip(max=4095) / 4095 * 255).round().astype(np.uint8)
    return np.repeat(picture[..., None], 3, axis=2)


@pytest.mark.parametrize(
    'picture, expected',
    [
        (NOISE, NOISE),
        (DEEP, of_12_bits(DEEP)),
        (LABELLED, of_12_bits(LABELLED)),
        (np.zeros((300, 3200, 3), np.uint8), np.zeros((150, 1600, 3))),
        (np.zeros((7100, 7100), np.uint8), '7100 x 7100 pixels; at most 50 million'),
        (np.zeros((4000, 1), np.uint8), '1 x 4000 pixels, which is too thin'),
        (np.zeros((1, 4000), np.uint8), '4000 x 1 pixels, which is too thin'),
    ],
)
def test_pictures(picture: np.ndarray, expected: np.ndarray | str, uploads: Path) -> None:
    """As MMDetection reads them; large ones are made smaller."""
    file = str(uploads / 'picture.png')
    cv2.imwrite(file, picture)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            web_demo.read_picture(file)
    else:
        np.testing.assert_array_equal(web_demo.read_picture(file), expected)


def test_the_brightest_pixel_is_that_of_mmdetection() -> None:
    """Both programs have the rule."""
    dark = np.full((40, 60), 4000, np.uint16)
    large = np.random.default_rng(0).integers(0, 4096, (800, 3600)).astype(np.uint16)
    dark[:2] = 50000
    for picture in (DEEP, HOT, LABELLED, dark, large, np.full((4, 4), 65535, np.uint16)):
        assert web_picture.brightest(picture) == odd_pictures.brightest(picture)
    large[0, 0] = 60000
    assert 4080 < web_picture.brightest(large) < 4096 > odd_pictures.brightest(large)
    assert web_picture.brightest(HOT) < 4096 and web_picture.brightest(dark) == 50000


def test_no_picture(uploads: Path) -> None:
    """A file that is none, and one that ends too early."""
    content = cv2.imencode('.png', np.zeros((90, 90, 3), np.uint8))[1].tobytes()
    for size in (0, len(content) // 2):
        (uploads / 'picture.png').write_bytes(content[:size])
        with pytest.raises(ValueError, match='cannot be read; choose a JPEG'):
            web_demo.read_picture(str(uploads / 'picture.png'))


def test_picture_that_takes_long(uploads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small JPEG that repeats its last scan ten thousand times."""
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    content = cv2.imencode('.jpg', np.zeros((6000, 8000), np.uint8), options)[1].tobytes()
    last = content.rindex(b'\xff\xda')
    (uploads / 'long.jpg').write_bytes(content[:last] + 10_000 * content[last:-2] + b'\xff\xd9')
    monkeypatch.setattr(web_picture, 'MAX_SECONDS', 3)
    with pytest.raises(ValueError, match='more than 3 seconds'):
        web_demo.read_picture(str(uploads / 'long.jpg'))


class Echo:
    """In place of a detector: the picture that was read; of 'wait', when it may be shown."""

    names = ('cat', 'dog')

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, file, text: str, threshold: float, example) -> tuple:
        picture = web_demo.read_picture(file)
        if example is not None:
            picture = web_demo.read_picture(example)
        if text == 'wait':
            self.begun.set()
            assert self.may_end.wait(60)
        return picture, InstanceData(scores=np.zeros(0)), []


class Server:
    """The page of an :class:`Echo`, and what a stranger can send to it without a browser."""

    def __init__(self, folder: Path) -> None:
        cv2.imwrite(str(folder / 'example.png'), NOISE)
        self.detector = Echo()
        self.page = web_demo.make_page(self.detector, [(str(folder / 'example.png'), 'cat')])
        self.address = web_demo.serve(self.page, '127.0.0.1').local_url.rstrip('/')
        calls = json.loads(self.get('/config'))['dependencies']
        self.function = next(call['id'] for call in calls if len(call['inputs']) == 4)

    def get(self, path: str) -> bytes:
        return urllib.request.urlopen(self.address + path, timeout=60).read()

    def post(self, path: str, content: bytes, kind: str) -> bytes:
        headers = {'Content-Type': kind}
        request = urllib.request.Request(self.address + path, content, headers)
        return urllib.request.urlopen(request, timeout=60).read()

    def upload(self, *contents: bytes) -> str:
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        body = b''.join(head + content + b'\r\n' for content in contents) + b'--x--\r\n'
        kind = 'multipart/form-data; boundary=x'
        return json.loads(self.post('/gradio_api/upload', body, kind))[0]

    def ask(self, picture: object, words: object = '', example: object = None) -> list | None:
        """What the page would show: message, picture and table; None where Gradio refuses."""
        session = os.urandom(8).hex()
        question = dict(
            data=[picture, words, 0, example], fn_index=self.function, session_hash=session
        )
        self.post('/gradio_api/queue/join', json.dumps(question).encode(), 'application/json')
        lines = self.get(f'/gradio_api/queue/data?session_hash={session}').decode().splitlines()
        events = [json.loads(line[5:]) for line in lines if line.startswith('data:')]
        done = next(event for event in events if event['msg'] == 'process_completed')
        return done['output'].get('data')


@pytest.fixture
def server(uploads: Path, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.page.close()


MARK = {'meta': {'_type': 'gradio.FileData'}}


@pytest.mark.parametrize('mark', [{}, MARK], ids=['plain', 'marked'])
def test_only_what_was_uploaded(mark: dict, server: Server, uploads: Path, tmp_path: Path) -> None:
    """Gradio checks no path that a request does not mark as one."""
    example = str(tmp_path / 'example.png')
    own = server.upload(Path(example).read_bytes())
    shown = server.ask({'path': own, **mark})
    assert shown[1]['url'] and 'nothing found' in shown[0]

    secret = str(uploads / 'link.png')
    os.symlink(example, secret)
    os.mkfifo(uploads / 'pipe.png')
    others = (example, f'{uploads}/../example.png', secret, str(uploads / 'pipe.png'), str(uploads))
    for path in (*others, '/dev/zero', '/etc/passwd', 'example.png', '', 'a\0b', own + 'x'):
        shown = server.ask({'path': path, **mark})
        assert not (shown and shown[1]), path
        shown = server.ask({'path': own, **mark}, '', {'path': path, **mark})
        assert not (shown and shown[1]), path
    assert server.ask({'path': own, **mark}, '', {'path': own, **mark})[1]['url']

    assert server.ask([own]) is None and server.ask(own) is None


def test_no_url_is_fetched(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio would do so for any component, and for any path; uploads have a limit."""
    fetched = []

    async def fetch(url: str, **options) -> None:
        fetched.append(url)

    monkeypatch.setattr(processing_utils, 'async_ssrf_protected_download', fetch)
    url = {'path': 'https://192.0.2.1/picture.png', **MARK}
    for question in ((url,), (None, url), (None, [{'any': url}]), (None, '', url)):
        assert server.ask(*question) is None
    assert not fetched
    for path in ('/gradio_api/file=http://127.0.0.1/', '/gradio_api/file/https://127.0.0.1/'):
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.get(path)
        assert refused.value.read() == b'no URL'
    assert server.upload(bytes(12_000_000))
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        server.upload(bytes(12_000_000), bytes(12_000_000))


@pytest.mark.parametrize('route', ['upload', 'queue/join'])
def test_a_false_length(
    route: str, server: Server, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body in chunks has another length than the header says."""
    monkeypatch.setattr(web_demo, 'MAX_BODY', 100_000)
    before = set(uploads.rglob('*'))
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    parts = [part + os.urandom(30_000) + b'\r\n' for _ in range(9)] + [b'--x--\r\n']
    kind = 'multipart/form-data; boundary=x'
    if route != 'upload':
        parts, kind = [b'["' + b' ' * 200_000, b'"]'], 'application/json'
    host, port = server.address.removeprefix('http://').split(':')
    with socket.create_connection((host, int(port)), timeout=60) as visitor:
        head = f'POST /gradio_api/{route} HTTP/1.1\r\nHost: here\r\nContent-Type: {kind}\r\n'
        head += 'Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n'
        visitor.sendall(head.encode())
        with contextlib.suppress(ConnectionError):
            for content in parts:
                visitor.sendall(b'%x\r\n%s\r\n' % (len(content), content))
            visitor.sendall(b'0\r\n\r\n')
        assert visitor.recv(99).startswith(b'HTTP/1.1 413 ')
    written = [path.stat().st_size for path in set(uploads.rglob('*')) - before if path.is_file()]
    assert sum(written) < 100_000 and server.get('/config')


MAIN = """
import sys, tempfile, pathlib, threading, time
import web_demo
class Detector:
    names = ('cat',)
    def __init__(self, *_): pass
web_demo.WordDetector = Detector
web_demo.main()
"""


def test_pictures_are_deleted_at_the_end(tmp_path: Path) -> None:
    """Also when systemd or Docker end the page."""
    command = [sys.executable, '-c', MAIN, 'config.py', 'checkpoint.pth', '--device', 'cpu']
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, 'TMPDIR': str(tmp_path), 'PYTHONPATH': path}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as page:
        try:
            line = next(line for line in page.stdout if 'local URL' in line)
            server = object.__new__(Server)
            server.address = line.split()[-1]
            own = Path(server.upload(b'a picture'))
            assert own.is_relative_to(tmp_path) and own.is_file()
            page.send_signal(signal.SIGTERM)
            assert page.wait(60) == 0 and not own.exists() and not own.parents[1].exists()
        finally:
            page.kill()


@pytest.mark.parametrize('hung_up', [signal.SIG_DFL, signal.SIG_IGN])
def test_signals_that_end_it(hung_up: signal.Handlers) -> None:
    """As Ctrl-C does; of a lost terminal not if nohup says so."""
    expected = {signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: hung_up}
    former = {number: signal.signal(number, handler) for number, handler in expected.items()}
    try:
        web_demo.end_by_signals()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(1)
        ends = signal.getsignal(signal.SIGHUP) is signal.default_int_handler
        assert ends == (hung_up is signal.SIG_DFL)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def test_old_pictures_are_deleted(
    uploads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads, also those that broke off, and answers; examples stay."""
    monkeypatch.setattr(web_demo, 'LOOK', 0.1)
    monkeypatch.setattr(web_demo, 'KEEP', 1)

    def files() -> set[Path]:
        return {path for path in uploads.rglob('*') if path.is_file()}

    server = Server(tmp_path)
    (example,) = files()
    own = server.upload((tmp_path / 'example.png').read_bytes() + b' ')
    assert server.ask({'path': own, **MARK})[1]['url'] and len(files()) == 3
    host, port = server.address.removeprefix('http://').split(':')
    with socket.create_connection((host, int(port))) as visitor:
        visitor.sendall(
            b'POST /gradio_api/upload HTTP/1.1\r\nHost: here\r\nContent-Length: 999999\r\n'
            b'Content-Type: multipart/form-data; boundary=x\r\n\r\n'
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
            + bytes(99_000)
        )
        wait_until(lambda: any(path.name.startswith('tmp') for path in files()))
    wait_until(lambda: files() == {example})
    server.page.close()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_slow_question_stops_no_other(server: Server, tmp_path: Path) -> None:
    own = {'path': server.upload((tmp_path / 'example.png').read_bytes()), **MARK}
    slow = threading.Thread(target=server.ask, args=(own, 'wait'))
    slow.start()
    assert server.detector.begun.wait(60)
    assert server.ask(own)[1]['url'] and slow.is_alive()
    server.detector.may_end.set()
    slow.join()


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> web_demo.WordDetector:
    """One that knows cat and the novel owl, and finds a cat, as an owl too, in every picture."""
    monkeypatch.setattr(web_demo, 'read_picture', lambda file: NOISE)
    known = {'cat': (1, 0, 0), 'owl': (0, 1, 0), 'caat': (0.1, 0.9, 0)}

    def encode(words: Sequence[str]) -> TextEmbeddings:
        rows = [known.get(word, (0, 0, 1)) for word in words]
        return TextEmbeddings(rows, tuple(words), [word == 'owl' for word in words], 'teacher@0')

    sample = DetDataSample()
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 10, 30, 30], [10, 10, 30, 29]]),
        labels=torch.tensor([1, 0]),
        scores=torch.tensor([0.4, 0.6]),
        text_scores=torch.tensor([0.4, 0.6]),
        objectness=torch.tensor([0.5, 0.5]),
        label_names=['owl', 'cat'],
        novel=torch.tensor([True, False]),
        other_names=[['cat'], ['<owl>']],
        other_scores=torch.tensor([[0.6], [0.4]]),
    )
    monkeypatch.setattr(web_demo, 'inference_detector', lambda *args, **options: sample.clone())
    detector = object.__new__(web_demo.WordDetector)
    detector.model = SimpleNamespace(encode_words=encode, vocabulary=encode(('cat', 'owl')))
    detector.visualizer = web_demo.OpenVocabularyVisualizer('test_web_demo')
    detector._turns = web_demo.ThreadPoolExecutor(1)
    return detector


def test_one_object_under_two_words(detector: web_demo.WordDetector) -> None:
    """It is found once; a column that repeats the score is left out, the others are explained."""
    said, drawn, table = web_demo.answer(detector, 'any', 'cat, owl', 30)
    assert '1 found, 0 of them novel' in said and drawn.shape == (360, 540, 3)
    assert (
        ' '.join(re.findall('<th.*?>(.*?)</th>', table)[:4]) == 'word score objectness other words'
    )
    assert table.count('<td>') == 2 and '>60.0<' in table and '&lt;owl&gt; 40.0' in table
    assert 'background: rgb(0, 90, 160)' in table and '<dt>objectness</dt><dd>how surely' in table


def test_a_teacher_that_was_not_asked(detector: web_demo.WordDetector) -> None:
    """Of boxes beyond the best there is no score of it; and what the detector says of a box."""
    found = web_demo.inference_detector().pred_instances
    found.image_scores, found.iou_scores = torch.tensor([0.7, torch.nan]), torch.tensor([0.8, 0.1])
    table = web_demo.table(found)
    heads = re.findall('<th.*?>(.*?)</th>', table)
    assert heads[:5] == ['word', 'score', 'image', 'IoU', 'objectness']
    numbers = [re.findall('<td class="number">(.*?)</td>', row) for row in table.split('<tr>')[2:]]
    assert numbers == [['40.0', '70.0', '80.0', '50.0'], ['60.0', '-', '10.0', '50.0']]


def test_nothing_found(detector: web_demo.WordDetector) -> None:
    """What was looked for, the nearest known words by spelling and meaning, a dot in a word."""
    said, _, table = web_demo.answer(detector, 'any', 'cat\ncaat,a.b', 61)
    lines = html.unescape(said).split('>', 1)[1].removesuffix('</div>').split('<br>')
    assert table == '' and lines == [
        'nothing found with a score of 61% or more',
        '“a.b” was looked for as one word: for two, write a comma between them.',
        'Looked for 3 words: “cat”, “caat”, “a.b”.',
        'The surest is cat with 60.0%.',
        'It does not know “caat”; the nearest that it knows: cat, ★ owl.',
        'It does not know “a.b”; the nearest that it knows: cat, ★ owl.',
    ]
    assert 'Looked for the 2 words that it knows' in web_demo.answer(detector, 'any', '', 61)[0]
    for threshold in ('30', None, float('nan'), 101):
        said, drawn, _ = web_demo.answer(detector, 'any', 'cat', threshold)
        assert 'a number from 0 to 100' in said and drawn is None


def test_an_example(detector: web_demo.WordDetector) -> None:
    """Beside words, or alone; under a name that is no word any more."""
    asked = []
    encode = detector.model.encode_words

    def note(words: list) -> TextEmbeddings:
        asked.append(words)
        return encode([word if isinstance(word, str) else word['name'] for word in words])

    detector.model.encode_words = note
    for text, others in (('', []), ('a.b', ['a.b'])):
        asked.clear()
        said, _, _ = web_demo.answer(detector, 'any', text, 61, 'mug.png')
        *words, example = asked[-1]
        assert words == others and example['name'] == 'your example'
        np.testing.assert_array_equal(example['examples'], [NOISE])
        assert asked[:-1] == [[word] for word in asked[-1]]  # in a turn of its own
        named = ', '.join(f'“{word}”' for word in (*others, 'your example'))
        assert named in html.unescape(said)
        assert 'It does not know “your example”; the nearest' in html.unescape(said)
    assert web_demo.answer(detector, 'any', 'your example', 61, 'mug.png')[1] is None


def test_many_words_let_others_in(detector: web_demo.WordDetector) -> None:
    """A CPU may need minutes to encode them."""
    encoded: list[str] = []
    first, ended = threading.Event(), threading.Event()

    def encode(words: list[str]) -> None:
        encoded.extend(words)
        if words == ['a0']:
            first.set()
            assert ended.wait(60)

    detector.model.encode_words = encode
    many = threading.Thread(target=detector, args=('', ' . '.join(f'a{i}' for i in range(9)), 0))
    many.start()
    assert first.wait(60)
    other = threading.Thread(target=detector, args=('', 'b', 0))
    other.start()
    while not detector._turns._work_queue.qsize():
        time.sleep(0.01)
    ended.set()
    many.join(), other.join()
    assert encoded.index('b') < 3 and len(encoded) == 10


def test_whatever_goes_wrong(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The visitor reads that something did, the log says what; no earlier answer remains."""
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handlers', [caplog.handler])

    def detector(*question):
        raise RuntimeError('out of <memory>')

    said, drawn, table = web_demo.answer(detector, 'picture.jpg', '', 50)
    assert 'the log of the server says why' in said and 'memory' not in said
    assert drawn is None and table == '' and 'out of <memory>' in caplog.text
