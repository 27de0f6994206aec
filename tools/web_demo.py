"""A page in which visitors detect their own words in their own pictures.

    python tools/web_demo.py work_dirs/mini_lvis/vild/vild_r18-mini_fpn_mini-lvis.py \\
        work_dirs/mini_lvis/vild/iter_600.pth --examples data/mini_lvis/val2017/000000002686.jpg

It needs Gradio: pip install -e ".[web]". Nothing leaves the machine it runs on, and it works
without a network. Pictures are deleted when it ends, or an hour after they were uploaded.
"""

import argparse
import html
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
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
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from web_picture import MAX_BYTES, read_picture

from mmdet_vild import load_detector
from mmdet_vild.models import ViLD
from mmdet_vild.visualization import PARTS, STAR, OpenVocabularyVisualizer
from mmdet_vild.vocabulary import parse_words

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
#: Other words to name for a detection.
OTHERS = 2
#: Of scores, in percent, before a visitor moves it.
THRESHOLD = 30
#: An answer of nothing.
EMPTY = ('', None, '')
STYLE = """
#message .html-container, #found .html-container { padding: 0; }
#found .html-container { overflow-x: auto; }
#found table { width: 100%; margin: 0; padding: 0; border: 0; white-space: nowrap; }
#found tr { border: 0; border-bottom: 1px solid var(--border-color-primary); }
#found th, #found td { padding: 5px 12px 5px 0; border: 0; font-size: 14px; line-height: 1.3; }
#found th { text-align: left; white-space: normal; }
#found .number, #found th.number { text-align: right; font-variant-numeric: tabular-nums; }
#found .lines { white-space: pre; }
#found .novel { color: rgb(195, 70, 0); font-weight: 600; }
.dark #found .novel { color: rgb(255, 140, 80); }
.message { padding: 8px 12px; border-left: 4px solid var(--color-accent); overflow-wrap: anywhere; }
.message.error { border-color: rgb(200, 30, 30); background: rgba(200, 30, 30, 0.1); }
"""


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
    def names(self) -> tuple[str, ...]:
        """The words of the vocabulary."""
        return self.model.dataset_meta['classes']

    def __call__(
        self, file: str | None, text: str, threshold: float
    ) -> tuple[np.ndarray, InstanceData]:
        """Detect words in a picture.

        Args:
            file: A picture.
            text: Words with `` . `` between them, never the name of a file of words; without any,
                those of the vocabulary.
            threshold: Detections with a lower score, in percent, are left out.

        Returns:
            The picture with the detections, (H, W, 3) RGB, enlarged if it is small; and the
            detections, the best first, as :meth:`mmdet_vild.models.ViLD.predict` has them.

        Raises:
            ValueError: There is no picture, or it cannot be read or is too large, or the words
                cannot be detected.
        """
        picture = read_picture(file)
        words = read_words(text)
        for word in words or ():  # each in a turn of its own: a hundred take minutes on a CPU
            self._in_turn(self.model.encode_words, [word])
        return self._in_turn(self._detect, picture, words, threshold)

    def _in_turn(self, function: Callable, *args):
        return self._turns.submit(function, *args).result()

    def _detect(
        self, picture: np.ndarray, words: list[str] | None, threshold: float
    ) -> tuple[np.ndarray, InstanceData]:
        sample = inference_detector(
            self.model, picture, text_prompt=words, custom_entities=True
        ).cpu()
        found = sample.pred_instances
        found = found[found.scores.argsort(descending=True)]
        sample.pred_instances = found = found[found.scores >= threshold / 100]
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
            return mmcv.imread(out_file, channel_order='rgb'), found


def read_words(text: str) -> list[str] | None:
    """Words that are asked for, or None for those of the vocabulary.

    They are a list, which the detector never takes for the name of a file, as it takes a text.

    Raises:
        ValueError: They are not written as words, or too many.
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise ValueError(f'words are a text of at most {MAX_TEXT} letters')
    if not text.strip(' \t\r\n.'):
        return None
    words = [category['synonyms'] for category in parse_words(text)]
    count = sum(map(len, words))
    if count > MAX_WORDS:
        raise ValueError(f'there are {count} words and synonyms; ask for {MAX_WORDS} at the most')
    return [' / '.join(synonyms) for synonyms in words]


def message(text: str, kind: str = '') -> str:
    """A line of HTML; ``kind`` is ``'error'`` for what a visitor has to mend."""
    role = 'alert' if kind else 'status'
    return f'<div class="message {kind}" role="{role}">{html.escape(text)}</div>'


def table(found: InstanceData) -> str:
    """Detections as HTML: words, scores and what these are made of in percent, and boxes."""
    parts = [field for field in PARTS if field in found]
    number, lines = ' class="number"', ' class="lines"'
    heads = [('word', ''), ('score', number), *((PARTS[field], number) for field in parts)]
    heads += [('other words', ''), ('box: x1, y1, x2, y2', '')]
    rows = [''.join(f'<th{kind}>{head}</th>' for head, kind in heads)]
    for i, name in enumerate(found.label_names):
        others = zip(found.other_names[i], found.other_scores[i], strict=True)
        cells = [
            (STAR + name, ' class="novel"') if found.novel[i] else (name, ''),
            *((f'{100 * found[field][i]:.1f}', number) for field in ('scores', *parts)),
            ('\n'.join(f'{word} {100 * score:.1f}' for word, score in others), lines),
            (', '.join(map(str, found.bboxes[i].round().int().tolist())), ''),
        ]
        rows.append(''.join(f'<td{kind}>{html.escape(text)}</td>' for text, kind in cells))
    return f'<table><tr>{"</tr><tr>".join(rows)}</tr></table>'


def answer(detector: WordDetector, file: str | None, text: str, threshold: float) -> tuple:
    """What the page shows: a message, the picture with its detections, and their table.

    Whatever goes wrong, nothing is left of an earlier answer, and no stack trace is shown.
    """
    try:
        drawn, found = detector(file, text, threshold)
    except ValueError as error:
        return (message(str(error), 'error'), *EMPTY[1:])
    except Exception:
        MMLogger.get_current_instance().exception('a visitor got no answer')
        return (message('this did not work; the log of the server says why', 'error'), *EMPTY[1:])
    if not len(found):
        return message(f'nothing found with a score of {threshold}% or more'), drawn, ''
    novel = int(found.novel.sum())
    return message(f'{len(found)} found, {novel} of them novel'), drawn, table(found)


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
    may be; Gradio limits each file, and takes a thousand at once.
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
        await self.app(scope, receive, send)


def make_page(detector: WordDetector, examples: Sequence[str]) -> gr.Blocks:
    """The page; ``examples`` are pictures that it offers."""
    number = len(detector.names)

    def detect(picture: dict | None, text: str, threshold: float) -> tuple:
        return answer(detector, picture and picture['path'], text, threshold)

    with Page(title='Detect your own words', delete_cache=(LOOK, KEEP)) as page:
        gr.Markdown(
            '# Detect your own words\n'
            f'{STAR}marks novel words: the detector learned them from no annotation.'
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = gr.Image(
                    label='Picture',
                    type='filepath',
                    sources=['upload', 'clipboard'],
                    height=320,
                    elem_id='picture',
                )
                if examples:
                    gr.Examples(list(examples), picture, label='Pictures to try')
                words = gr.Textbox(
                    label='Words',
                    info=f'A dot between words. Empty: the {number} words of the checkpoint.',
                    placeholder='toy elephant . sofa / couch . cat',
                    elem_id='words',
                )
                threshold = gr.Slider(
                    *(0, 100, THRESHOLD),
                    step=1,
                    label='Score, at least (%)',
                    elem_id='threshold',
                )
                button = gr.Button('Detect', variant='primary', elem_id='detect')
            with gr.Column(scale=3, min_width=300):
                said = gr.HTML(elem_id='message')
                drawn = gr.Image(
                    label='Detections', buttons=['download', 'fullscreen'], elem_id='drawn'
                )
        found = gr.HTML(elem_id='found')
        with gr.Accordion(f'The {number} words of the checkpoint', open=False):
            gr.Textbox(' . '.join(detector.names), show_label=False, container=False)
        asked = [picture, words, threshold]
        results = [said, drawn, found]
        # The path of a file, which Gradio has not checked if a request calls it otherwise.
        raw = dict(inputs=asked, outputs=results, preprocess=False, concurrency_limit=MAX_VISITORS)
        running = [
            gr.on([button.click, words.submit], detect, scroll_to_output=True, **raw),
            threshold.change(detect, trigger_mode='always_last', **raw),
        ]
        # What is shown always belongs to the picture beside it.
        picture.change(lambda: EMPTY, outputs=results, queue=False, cancels=running)
    return page.queue(max_size=MAX_WAITING, api_open=False)


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
    except ValueError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder  # no other server deletes from it
        page = serve(make_page(detector, args.examples), args.host, args.port)
        page.block_thread()


def serve(page: gr.Blocks, host: str, port: int | None = None) -> gr.Blocks:
    """Start serving a page, and print where."""
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
