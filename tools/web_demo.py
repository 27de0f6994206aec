"""A page in which visitors detect their own words in their own pictures.

    python tools/web_demo.py work_dirs/mini_lvis/vild/vild_lite0_fpn_mini-lvis.py \\
        work_dirs/mini_lvis/vild/iter_700.pth --examples data/mini_lvis/val2017/000000002686.jpg

It needs Gradio: pip install -e ".[web]". Nothing leaves the machine it runs on, and it works
without a network. Pictures are deleted when it ends, by whatever but SIGKILL, or an hour after they
were uploaded.
"""

import argparse
import contextlib
import difflib
import html
import math
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Before Gradio is imported: it reports to its authors' server and records runs otherwise.
os.environ.update(GRADIO_ANALYTICS_ENABLED='False', GRADIO_RUN_HISTORY='False')

try:
    import gradio as gr
except ImportError as error:
    sys.exit(f'the page needs Gradio ({error}): pip install -e ".[web]"')
import mmcv
import numpy as np
from gradio_client.utils import traverse
from mmdet.apis import inference_detector
from mmdet.structures import DetDataSample
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from web_picture import MAX_BYTES, decode, read_picture

from mmdet_vild import load_detector
from mmdet_vild.models import ViLD
from mmdet_vild.visualization import STAR, OpenVocabularyVisualizer, surest, word_color
from mmdet_vild.vocabulary import parse_words
from mmdet_vild.vocabulary.asked_words import COMMAS, DOTS

#: How many bytes a request may have: a file, and what is around it.
MAX_BODY = MAX_BYTES + 10_000
#: What a visitor may ask for: words and synonyms, and letters of them.
MAX_WORDS, MAX_TEXT = 100, 10_000
#: Smaller ones are enlarged by a whole factor before they are drawn on.
MIN_SIDE = 720
#: How many questions are worked on at a time, and how many more may wait.
MAX_VISITORS, MAX_WAITING = 8, 20
#: How long pictures are kept, and how often old ones are looked for, in seconds.
KEEP, LOOK = 3600, 600
#: Other words to name for a detection, known ones for a word that is not found, how many of these
#: are explained, and words of an example.
OTHERS, NEAREST, EXPLAINED, SUGGESTED = 2, 3, 5, 4
#: A longer list of the words that it knows is folded.
MAX_SHOWN = 100
#: What a picture in place of a word is called.
EXAMPLE = 'your example'
#: Of scores, in percent, before a visitor moves it.
THRESHOLD = 30
#: An answer of nothing.
EMPTY = ('', None, '')
#: What stands between words here. In MMDetection a comma may be part of one; a visitor has no list.
BETWEEN_WORDS = re.compile(rf'[{COMMAS}{DOTS}\t]|(?<=\s)\.(?=\s)')
#: What the columns of the table are.
COLUMNS = {
    'scores': ('score', 'how sure the detector is, in percent'),
    'text_scores': ('text', 'the probability by the branch that learned words'),
    'image_scores': ('image', "that by the branch that learned the teacher's view of pictures"),
    'iou_scores': ('IoU', 'how well the box is placed, as the detector sees it'),
    'objectness': ('objectness', 'how surely something is there, whatever it is'),
}
STYLE = """
#message .html-container, #found .html-container { padding: 0; }
#answer { scroll-margin-top: 8px; }
#drawn img { max-height: calc(100vh - 70px); object-fit: contain; }
#found .scrolled {
    overflow-x: auto; scrollbar-width: thin; padding-bottom: 4px;
    --page: var(--body-background-fill);
    --shadow: linear-gradient(to left, rgba(128, 128, 128, 0.6), transparent) right / 18px 100%;
    background: linear-gradient(var(--page), var(--page)) right / 36px 100% local no-repeat,
        var(--shadow) no-repeat scroll;
}
#found table { width: 100%; margin: 0; padding: 0; border: 0; white-space: nowrap; }
#found tr { border: 0; border-bottom: 1px solid var(--border-color-primary); }
#found th, #found td {
    padding: 5px 12px 5px 0; border: 0; font-size: 14px; line-height: 1.3; background: none;
}
#found th { text-align: left; }
#found .number, #found th.number { text-align: right; font-variant-numeric: tabular-nums; }
#found .lines { white-space: pre; }
#found .color { display: inline-block; width: 10px; height: 10px; margin-right: 6px; }
#found dl { margin: 8px 0; font-size: 13px; color: var(--body-text-color-subdued); }
#found dt { float: left; clear: left; margin-right: 6px; font-weight: 600; }
#found dd { margin: 0; }
.message { padding: 8px 12px; border-left: 4px solid var(--color-accent); overflow-wrap: anywhere; }
.message.error { border-color: rgb(200, 30, 30); background: rgba(200, 30, 30, 0.1); }
"""
#: Scrolls to the answer where its beginning is out of sight or low in it.
SHOW = """() => {
    const answer = document.querySelector('#answer'), top = answer.getBoundingClientRect().top;
    if (top < 0 || top > 0.5 * innerHeight) answer.scrollIntoView({behavior: 'smooth'});
}"""


class WordDetector:
    """A checkpoint of ViLD that detects words in picture files and draws them.

    Args:
        config: A config of :class:`mmdet_vild.models.ViLD`.
        checkpoint: Its checkpoint.
        device: Where it computes.

    Raises:
        ValueError: The config is one of another detector.
    """

    def __init__(self, config: str, checkpoint: str, device: str) -> None:
        self.model = load_detector(config, checkpoint, device)
        if not isinstance(self.model, ViLD):
            raise ValueError(
                f'only a ViLD detects words that it is asked for; {config} is the config of a '
                f'{type(self.model).__name__}'
            )
        self.model.roi_head.test_cfg.explain = OTHERS
        if self.model.cfg.model.get('teacher'):
            self.model.teacher  # noqa: B018  built now, and not while the first visitor waits
        self.visualizer = OpenVocabularyVisualizer('web_demo', min_size=MIN_SIDE)
        self.visualizer.dataset_meta = self.model.dataset_meta
        # Model and visualizer do one thing at a time, for whoever asked first.
        self._turns = ThreadPoolExecutor(1)

    @property
    def names(self) -> list[str]:
        """The words of the vocabulary; those that are novel with a star."""
        own = self.model.vocabulary
        return [STAR * bool(novel) + name for name, novel in zip(own.names, own.novel, strict=True)]

    def __call__(
        self, file: str | None, text: str, threshold: float, example: str | None = None
    ) -> tuple[np.ndarray, InstanceData, list[str]]:
        """Detect words in a picture.

        Args:
            file: A picture.
            text: Words, see :func:`read_words`; without any, those of the vocabulary.
            threshold: Detections with a lower score, in percent, are left out.
            example: A picture of something to look for, too.

        Returns:
            The picture with the detections, (H, W, 3) RGB, enlarged if it is small; the detections,
            the best first and one of those at the same place, as
            :meth:`mmdet_vild.models.ViLD.predict` has them; and what else there is to say.

        Raises:
            ValueError: There is no picture, or it cannot be read or is too large, or the words
                cannot be detected.
        """
        picture = read_picture(file)
        words = read_words(text)
        if example is not None:
            words = [*(words or ()), dict(name=EXAMPLE, examples=[read_picture(example)])]
        if not isinstance(threshold, int | float) or not 0 <= threshold <= 100:
            raise ValueError(f'the score is a number from 0 to 100, found {threshold!r}')
        for word in words or ():  # each in a turn of its own: a hundred take minutes on a CPU
            self._in_turn(self.model.encode_words, [word])
        return self._in_turn(self._answer, picture, words, threshold)

    def _in_turn(self, function: Callable, *args):
        return self._turns.submit(function, *args).result()

    def _answer(
        self, picture: np.ndarray, words: list[str | dict] | None, threshold: float
    ) -> tuple[np.ndarray, InstanceData, list[str]]:
        sample = self.find(picture, words)
        everything = sample.pred_instances
        sample.pred_instances = found = everything[everything.scores >= threshold / 100]
        with tempfile.TemporaryDirectory() as folder:
            out_file = f'{folder}/drawn.png'
            self.visualizer.add_datasample(
                'drawn',
                picture[..., ::-1],
                sample,
                draw_gt=False,
                out_file=out_file,  # small pictures are enlarged in files alone
                pred_score_thr=0,
            )
            drawn = mmcv.imread(out_file, channel_order='rgb')
        notes = [
            f'“{word}” was looked for as one word: for two, write a comma between them.'
            for word in words or ()
            if isinstance(word, str) and re.search(r'[^\W\d]\.[^\W\d]', word)
        ]
        if not len(found):
            notes += self._why_nothing(words, everything)
        return drawn, found, notes

    def find(self, picture: np.ndarray, words: list[str | dict] | None) -> DetDataSample:
        """What :func:`inference_detector` finds; of detections at the same place the surest."""
        sample = inference_detector(
            self.model, picture, text_prompt=words, custom_entities=True
        ).cpu()
        sample.pred_instances = surest(sample.pred_instances, self.visualizer.max_iou)
        return sample

    def _why_nothing(self, words: list[str | dict] | None, everything: InstanceData) -> list[str]:
        """What was looked for, what would be found with a lower score, and words like those."""
        if words is None:
            lines = [f'Looked for the {len(self.names)} words that it knows.']
        else:
            names = (word if isinstance(word, str) else word['name'] for word in words)
            named = ', '.join(f'“{name}”' for name in names)
            lines = [f'Looked for {len(words)} word{"s"[: len(words) > 1]}: {named}.']
        if len(everything):
            best = everything[:1]
            lines.append(f'The surest is {best.label_names[0]} with {100 * best.scores[0]:.1f}%.')
        own, names = self.model.vocabulary, self.names
        asked = self.model.encode_words(words) if words else own
        similar = _unit(asked.embeddings) @ _unit(own.embeddings).T
        for word, row in zip(asked.names[:EXPLAINED], similar, strict=False):
            if row.max() < 0.9999:  # or it is one of them
                spelled = difflib.get_close_matches(word, own.names, 1, 0.8)
                rows = [*map(own.names.index, spelled), *(-row).argsort()[:NEAREST]]
                known = ', '.join(dict.fromkeys(names[i] for i in rows))
                lines.append(f'It does not know “{word}”; the nearest that it knows: {known}.')
        return lines


def _unit(embeddings: np.ndarray) -> np.ndarray:
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def read_words(text: str) -> list[str] | None:
    """Words that are asked for, or None for those of the vocabulary.

    Between words are commas, semicolons, tabs, ends of lines, or dots with blanks around them; the
    dots of other scripts, bars and bullets need no blanks. They are a list, which the detector
    never takes for the name of a file, as it takes a text.

    Raises:
        ValueError: They are not written as words, or too many.
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise ValueError(f'words are a text of at most {MAX_TEXT} letters')
    parts = [part for line in text.splitlines() for part in BETWEEN_WORDS.split(f' {line} ')]
    parts = [part for part in (part.strip(f' .{STAR}') for part in parts) if part]
    if not parts:
        return None
    for part in parts:
        if re.search(r'\.\s|\s\.', part):
            raise ValueError(
                f'“{part}” may be one word or two: write a comma between two, or no dot in one'
            )
    words = [category['synonyms'] for category in parse_words(parts)]
    count = sum(map(len, words))
    if count > MAX_WORDS:
        raise ValueError(f'there are {count} words and synonyms; ask for {MAX_WORDS} at the most')
    return [' / '.join(synonyms) for synonyms in words]


def message(*lines: str, kind: str = '') -> str:
    """Lines of HTML; ``kind`` is ``'error'`` for what a visitor has to mend."""
    role = 'alert' if kind else 'status'
    return f'<div class="message {kind}" role="{role}">{"<br>".join(map(html.escape, lines))}</div>'


def percent(score: float) -> str:
    """A score; NaN is of a teacher that was not asked."""
    return '-' if math.isnan(score) else f'{100 * score:.1f}'


def table(found: InstanceData) -> str:
    """Detections as HTML: words, scores and what these are made of in percent, and boxes."""
    fields = [
        field
        for field in COLUMNS
        if field == 'scores'
        or (field in found and not np.allclose(found[field], found.scores, atol=5e-4))
    ]
    number, lines = ' class="number"', ' class="lines"'
    heads = [('word', ''), *((COLUMNS[field][0], number) for field in fields)]
    heads += [('other words', ''), ('box: x1, y1, x2, y2', '')]
    rows = [''.join(f'<th{kind}>{head}</th>' for head, kind in heads)]
    for i, name in enumerate(found.label_names):
        color = f'rgb{word_color(found.labels[i], found.novel[i])}'
        others = zip(found.other_names[i], found.other_scores[i], strict=True)
        cells = [
            *((percent(found[field][i]), number) for field in fields),
            ('\n'.join(f'{word} {100 * score:.1f}' for word, score in others), lines),
            (', '.join(map(str, found.bboxes[i].round().int().tolist())), ''),
        ]
        rows.append(
            f'<td><span class="color" style="background: {color}"></span>'
            f'{html.escape(STAR * bool(found.novel[i]) + name)}</td>'
            + ''.join(f'<td{kind}>{html.escape(text)}</td>' for text, kind in cells)
        )
    explained = [COLUMNS[field] for field in fields]
    explained.append(('other words', 'the next best at this place, also words not asked for'))
    explained.append(('box', 'its corners, in pixels from the top left'))
    terms = ''.join(f'<dt>{term}</dt><dd>{meaning}</dd>' for term, meaning in explained)
    return (
        f'<div class="scrolled"><table><tr>{"</tr><tr>".join(rows)}</tr></table></div>'
        f'<dl>{terms}</dl>'
    )


def answer(detector: WordDetector, *question) -> tuple:
    """What the page shows: a message, the picture with its detections, and their table.

    The question is what a :class:`WordDetector` is called with. Whatever goes wrong, nothing is
    left of an earlier answer, and no stack trace is shown.
    """
    try:
        drawn, found, notes = detector(*question)
    except ValueError as error:
        return (message(str(error), kind='error'), *EMPTY[1:])
    except Exception:
        MMLogger.get_current_instance().exception('a visitor got no answer')
        said = message('this did not work; the log of the server says why', kind='error')
        return (said, *EMPTY[1:])
    if not len(found):
        said = message(f'nothing found with a score of {question[2]}% or more', *notes)
        return said, drawn, ''
    novel = int(found.novel.sum())
    return message(f'{len(found)} found, {novel} of them novel', *notes), drawn, table(found)


class Page(gr.Blocks):
    """Blocks whose functions are given no URL as a file, which Gradio would fetch."""

    async def preprocess_data(self, block_fn, inputs, *args, **kwargs):
        """Check what a visitor sent, whatever component it is for."""
        traverse(inputs, refuse_url, lambda part: isinstance(part, dict) and 'path' in part)
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


def refuse_url(part: dict) -> None:
    """Raise gr.Error where the path of a file is anything else."""
    if not isinstance(part['path'], str | None) or '://' in (part['path'] or ''):
        raise gr.Error('a picture must be uploaded', print_exception=False)


class Door:
    """ASGI middleware that turns away what the page never sends, and Gradio would serve.

    That is a URL to fetch, as ``/gradio_api/file=https://...`` is, and a body larger than a file
    may be; Gradio limits each file, and takes a thousand at once. What a request says of its length
    may be untrue, so that bytes are counted, too.
    """

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope['type'] == 'http':
            length = dict(scope['headers']).get(b'content-length', b'')
            if '://' in scope['path']:
                return await PlainTextResponse('no URL', 403)(scope, receive, send)
            if scope['method'] == 'POST' and not (length.isdigit() and int(length) < MAX_BODY):
                return await PlainTextResponse('too large', 413)(scope, receive, send)
            receive = counted(receive)
        await self.app(scope, receive, send)


def counted(receive: Callable) -> Callable:
    """What receives a request, up to ``MAX_BODY`` bytes; then it ends in an answer of 413."""
    size = 0

    async def receive_some() -> dict:
        nonlocal size
        received = await receive()
        size += len(received.get('body', b''))
        if size > MAX_BODY:
            raise HTTPException(413, f'a request may have {MAX_BODY} bytes at the most')
        return received

    return receive_some


def what_it_knows(names: Sequence[str]) -> str:
    """The vocabulary as HTML; novel words have a star."""
    learned = [name for name in names if not name.startswith(STAR)]
    novel = [name for name in names if name.startswith(STAR)]
    parts = (('Learned from annotated pictures', learned), ('Novel', novel))
    return ''.join(
        f'<p><b>{title}:</b> {html.escape(", ".join(words)) or "none"}</p>'
        for title, words in parts
    )


def make_page(detector: WordDetector, examples: Sequence[tuple[str, str]]) -> gr.Blocks:
    """The page; ``examples`` are pictures that it offers, and words to look for in each."""
    names = detector.names
    novel = sum(name.startswith(STAR) for name in names)

    def detect(picture: dict | None, text: str, threshold: float, example: dict | None) -> tuple:
        paths = [file and file['path'] for file in (picture, example)]
        return answer(detector, paths[0], text, threshold, paths[1])

    with Page(title='Detect your own words') as page:
        gr.Markdown(
            '# Detect your own words\n'
            f'It knows {len(names)} words. Of {novel} of them ({STAR.strip()}) it was never shown '
            'a box, a mask or a label. It looks for any other, too; best for things like those '
            'that it knows.'
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = gr.Image(
                    label='Picture',
                    type='filepath',
                    sources=['upload', 'clipboard'],
                    height=260,
                    elem_id='picture',
                )
                words = gr.Textbox(
                    label='Words',
                    info=f'Commas between words. Empty: the {len(names)} that it knows.',
                    placeholder=', '.join(sorted(names, reverse=True)[:3]),  # novel ones first
                    elem_id='words',
                )
                example = gr.Image(
                    label='Or a picture of it, cut out closely',
                    type='filepath',
                    sources=['upload', 'clipboard'],
                    height=120,
                    elem_id='example',
                )
                threshold = gr.Slider(
                    *(0, 100, THRESHOLD),
                    step=1,
                    label='Score, at least (%)',
                    elem_id='threshold',
                )
                button = gr.Button('Detect', variant='primary', elem_id='detect')
                if examples:
                    gr.Examples(
                        [list(example) for example in examples],
                        [picture, words],
                        label='Pictures and words to try',
                        examples_per_page=4,
                        elem_id='examples',
                    )
            with gr.Column(scale=3, min_width=300, elem_id='answer'):
                said = gr.HTML(elem_id='message')
                drawn = gr.Image(
                    label='Detections', buttons=['download', 'fullscreen'], elem_id='drawn'
                )
                found = gr.HTML(elem_id='found')
        with gr.Accordion(f'The {len(names)} words that it knows', open=len(names) <= MAX_SHOWN):
            gr.HTML(what_it_knows(names))
        asked = [picture, words, threshold, example]
        results = [said, drawn, found]
        # The path of a file, which Gradio has not checked if a request calls it otherwise.
        raw = dict(inputs=asked, outputs=results, preprocess=False, concurrency_limit=MAX_VISITORS)
        triggers = [button.click, words.submit]
        running = [
            gr.on(triggers, detect, **raw),
            threshold.change(detect, trigger_mode='always_last', **raw),
        ]
        gr.on(triggers, js=SHOW)  # while it runs
        running[0].then(js=SHOW)
        # What is shown always belongs to the picture beside it.
        picture.change(lambda: EMPTY, outputs=results, queue=False, cancels=running)
    return page.queue(max_size=MAX_WAITING, api_open=False)


def suggest(detector: WordDetector, file: str) -> str:
    """Words that the detector finds in a picture, novel ones first, as a visitor may write them."""
    found = detector.find(decode(Path(file).read_bytes()), None).pred_instances
    found = found[found.scores >= THRESHOLD / 100]
    stars = [STAR * bool(novel) for novel in found.novel]
    names = [star + name for star, name in zip(stars, found.label_names, strict=True)]
    names = sorted(dict.fromkeys(names), key=lambda name: not name.startswith(STAR))
    return ', '.join(names[:SUGGESTED])


def main() -> None:
    """Parse the command line, load the detector, and serve the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config of the detector')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--examples', nargs='+', default=(), help='pictures that the page offers')
    parser.add_argument('--device', default=get_device(), help='default: %(default)s')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='default: %(default)s, this machine alone; 0.0.0.0 lets others in',
    )
    parser.add_argument('--port', type=int, help='default: the first free one from 7860 on')
    args = parser.parse_args()
    missing = [picture for picture in args.examples if not Path(picture).is_file()]
    if missing:
        parser.error(f'there is no {missing[0]}')
    try:
        detector = WordDetector(args.config, args.checkpoint, args.device)
        examples = [(file, suggest(detector, file)) for file in args.examples]
    except ValueError as error:
        parser.error(str(error))
    end_by_signals()
    with tempfile.TemporaryDirectory() as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder  # no other server deletes from it
        page = serve(make_page(detector, examples), args.host, args.port)
        page.block_thread()


def end_by_signals() -> None:
    """End as Ctrl-C does, and delete pictures, where systemd, Docker or a lost terminal ask to."""
    for name in ('SIGTERM', 'SIGHUP'):
        number = getattr(signal, name, None)  # Windows has no SIGHUP; nohup ignores it
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def delete_old(folder: Path, kept: Collection[Path]) -> None:
    """Delete pictures some time after they came, for ever.

    Gradio's ``delete_cache`` forgets what has come of an upload that broke off, and ends when one
    comes in while it looks.
    """
    while True:
        time.sleep(LOOK)
        for file in folder.rglob('*'):
            with contextlib.suppress(OSError):  # it is a folder, or was renamed
                if file not in kept and time.time() - file.lstat().st_ctime > KEEP:
                    file.unlink()


def serve(page: gr.Blocks, host: str, port: int | None = None) -> gr.Blocks:
    """Start serving a page, and print where; pictures lie in ``GRADIO_TEMP_DIR``."""
    folder = Path(os.environ['GRADIO_TEMP_DIR'])
    examples = set(folder.rglob('*'))
    threading.Thread(target=delete_old, args=(folder, examples), daemon=True).start()
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,  # of an option for sharing, which would need Gradio's servers
        prevent_thread_lock=True,
        max_file_size=MAX_BYTES,
        enable_monitoring=False,
        app_kwargs=dict(middleware=[Middleware(Door)]),
        footer_links=[],
        css=STYLE,
        theme=gr.themes.Default(font=['system-ui', 'sans-serif']),
    )
    print(f'* Running on local URL:  http://{page.server_name}:{page.server_port}', flush=True)
    return page


if __name__ == '__main__':
    main()
