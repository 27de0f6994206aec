"""A page in which visitors detect their own words in their own pictures.

    python tools/web_demo.py work_dirs/mini_lvis/vild/vild_r18-mini_fpn_mini-lvis.py \\
        work_dirs/mini_lvis/vild/iter_600.pth --examples data/mini_lvis/val2017/000000002686.jpg

It needs Gradio: pip install -e ".[web]". Nothing leaves the machine it runs on, and it works without
a network. Pictures are deleted an hour after they were uploaded.
"""

import argparse
import html
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

# Before Gradio is imported: it reports to its authors' server and records runs otherwise.
os.environ.update(GRADIO_ANALYTICS_ENABLED='False', GRADIO_RUN_HISTORY='False')

try:
    import gradio as gr
except ImportError as error:
    sys.exit(f'the page needs Gradio ({error}): pip install -e ".[web]"')
import mmcv
import numpy as np
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import VISUALIZERS
from mmengine.device import get_device
from mmengine.structures import InstanceData
from PIL import Image

import mmdet_vild  # noqa: F401  before any checkpoint is loaded
from mmdet_vild.models import ViLD
from mmdet_vild.visualization import PARTS, STAR
from mmdet_vild.vocabulary import parse_words

#: What a visitor may ask of the machine: words and synonyms, bytes of a file, pixels of a picture.
MAX_WORDS, MAX_FILE, MAX_PIXELS = 100, '20mb', 50_000_000
#: Larger pictures are made smaller, since every detection has a mask of the size of the picture.
MAX_SIDE = 1600
#: How many detections may wait for others to end.
MAX_WAITING = 20
#: How long pictures are kept, and how often old ones are looked for, in seconds.
KEEP, LOOK = 3600, 600
#: Other words to name for a detection.
OTHERS = 2
THRESHOLD = 50
STYLE = """
.found { overflow-x: auto; }
.found table { width: 100%; border-collapse: collapse; white-space: nowrap; }
.found th { text-align: left; font-weight: 600; }
.found th, .found td { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--border-color-primary); }
.found .number { text-align: right; font-variant-numeric: tabular-nums; }
.found .novel { color: rgb(195, 70, 0); font-weight: 600; }
.dark .found .novel { color: rgb(255, 140, 80); }
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
        TypeError: The config is one of another detector.
    """

    def __init__(self, config: str, checkpoint: str, device: str) -> None:
        self.model = init_detector(config, checkpoint, device=device)
        if not isinstance(self.model, ViLD):
            raise TypeError(
                f'only a ViLD detects words that it is asked for; {config} is the config of a '
                f'{type(self.model).__name__}'
            )
        self.model.roi_head.test_cfg.explain = OTHERS
        if self.model.cfg.model.get('teacher'):
            self.model.teacher  # noqa: B018  built now, and not while the first visitor waits
        self.visualizer = VISUALIZERS.build(self.model.cfg.visualizer)
        self.visualizer.dataset_meta = self.model.dataset_meta
        # Model and visualizer serve one visitor at a time.
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The words of the vocabulary."""
        return self.model.vocabulary.names

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
        with self._lock:
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

def read_picture(file: str | None) -> np.ndarray:
    """A picture, (H, W, 3) BGR; its longer side has at most ``MAX_SIDE`` pixels.

    Raises:
        ValueError: There is none, or it cannot be read or is too large.
    """
    if file is None:
        raise ValueError('there is no picture; choose one')
    try:
        with Image.open(file) as opened:  # reads the head of the file
            width, height = opened.size
    except (OSError, Image.DecompressionBombError):
        width = height = 0
    if width * height > MAX_PIXELS:
        raise ValueError(
            f'the picture has {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million can '
            'be read'
        )
    picture = mmcv.imread(file) if width else None
    if picture is None:
        raise ValueError('the picture cannot be read; choose a JPEG, PNG or WebP file')
    scale = MAX_SIDE / max(picture.shape[:2])
    return mmcv.imrescale(picture, scale) if scale < 1 else picture

def read_words(text: str) -> list[str] | None:
    """Words that are asked for, or None for those of the vocabulary.

    They are a list, which the detector never takes for the name of a file, as it takes a text.

    Raises:
        ValueError: They are not written as words, or too many.
    """
    if not text.strip():
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
    rows = ''
    for i, name in enumerate(found.label_names):
        numbers = [found.scores[i], *(found[field][i] for field in parts)]
        others = zip(found.other_names[i], found.other_scores[i], strict=True)
        cells = [f'<td class="number">{100 * number:.1f}</td>' for number in numbers]
        cells += [
            f'<td>{html.escape(text)}</td>'
            for text in (
                ', '.join(f'{word} {100 * score:.1f}' for word, score in others),
                ', '.join(map(str, found.bboxes[i].round().int().tolist())),
            )
        ]
        word = f'<td class="novel">{STAR}' if found.novel[i] else '<td>'
        rows += f'<tr>{word}{html.escape(name)}</td>{"".join(cells)}</tr>'
    heads = ['word', 'score', *(PARTS[field] for field in parts), 'or', 'box: x1, y1, x2, y2']
    numbers = len(parts) + 1
    kinds = ['', *(numbers * [' class="number"']), '', '']
    head = ''.join(f'<th{kind}>{name}</th>' for kind, name in zip(kinds, heads, strict=True))
    return f'<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'

def make_page(detector: WordDetector, examples: Sequence[str]) -> gr.Blocks:
    """The page; ``examples`` are pictures that it offers."""
    number = len(detector.names)

    def detect(file: str | None, text: str, threshold: float) -> tuple:
        try:
            drawn, found = detector(file, text, threshold)
        except ValueError as error:
            return message(str(error), 'error'), None, ''
        novel = int(found.novel.sum())
        said = f'{len(found)} found, {novel} of them novel ({STAR.strip()})'
        return message(said), drawn, table(found)

    with gr.Blocks(title='Detect your own words', delete_cache=(LOOK, KEEP)) as page:
        gr.Markdown('# Detect your own words')
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = Picture(
                    label='Picture', type='filepath', sources=['upload', 'clipboard'], height=320
                )
                words = gr.Textbox(
                    label='Words',
                    info=f'A dot between words. Empty: the {number} words of the checkpoint.',
                    placeholder='toy elephant . sofa / couch . cat',
                )
                threshold = gr.Slider(
                    0, 100, THRESHOLD, step=1, label='Score, at least', info='In percent.'
                )
                button = gr.Button('Detect', variant='primary')
                if examples:
                    gr.Examples(list(examples), picture, label='Pictures to try')
                with gr.Accordion('Words of the checkpoint', open=False):
                    gr.Textbox(' . '.join(detector.names), show_label=False, container=False)
            with gr.Column(scale=3, min_width=300):
                said = gr.HTML(elem_id='message')
                drawn = gr.Image(label='Detections', buttons=['download', 'fullscreen'])
                found = gr.HTML(elem_classes='found')
        results = [said, drawn, found]
        # What is shown always belongs to the picture beside it.
        asked = gr.on(
            [button.click, words.submit, threshold.release],
            lambda: ('', None, ''),
            outputs=results,
            queue=False,
        ).then(detect, [picture, words, threshold], results)
        picture.change(lambda: ('', None, ''), outputs=results, queue=False, cancels=asked)
    return page.queue(max_size=MAX_WAITING, api_open=False)

from gradio.events import Dependency

class Picture(gr.Image):
    """Gives the file as it was uploaded; :func:`read_picture` reads it, and says if it cannot."""

    is_template = True  # the browser shows its parent

    def preprocess(self, payload) -> str | None:
        """The path of the file."""
        return payload and payload.path
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

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
    except TypeError as error:
        parser.error(str(error))
    make_page(detector, args.examples).launch(
        server_name=args.host,
        server_port=args.port,
        share=False,
        max_file_size=MAX_FILE,
        footer_links=[],
        css=STYLE,
    )

if __name__ == '__main__':
    main()
