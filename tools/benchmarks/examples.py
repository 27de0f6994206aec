"""AP of novel categories that are asked for by pictures, beside that by words, in the mini world.

    python tools/benchmarks/examples.py

After ``make demo``. Tested are the unseen designs; the pictures are drawings by the other hands.
Base categories are asked for by their words in every row, and all categories compete.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'mini_lvis'))

import report  # noqa: E402
from drawings import find_drawings  # noqa: E402
from scenes import Drawing, load_drawings  # noqa: E402
from steps import STOCK_TOOLS  # noqa: E402

from mmdet_vild.vocabulary import is_novel  # noqa: E402

#: A drawing is shown on grey, with a margin of this part of its longer side.
GREY, MARGIN = 200, 0.05
MODEL = 'mini-clip-lite0'


def on_grey(drawing: Drawing) -> np.ndarray:
    """A drawing as a picture: (H, W, 3) uint8, BGR."""
    colour, alpha = np.split(drawing.pixels.astype(float), [3], axis=2)
    picture = GREY + (colour - GREY) * alpha / 255
    pad = round(MARGIN * max(picture.shape))
    return np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), constant_values=GREY).astype(np.uint8)


def vocabulary(
    categories: list[dict], drawings: list[Drawing], count: int, folder: Path
) -> list[dict]:
    """The categories, with at most ``count`` pictures in place of the names of novel ones.

    Raises:
        SystemExit: There is no drawing of a category.
    """
    asked = []
    for category in categories:
        if not is_novel(category):
            asked.append({k: category[k] for k in ('name', 'synonyms', 'frequency')})
            continue
        of_it = [d for d in drawings if d.category == category['name']][:count]
        if not of_it:
            sys.exit(f'error: no other hand has drawn {category["name"]}')
        files = []
        for i, drawing in enumerate(of_it):
            files.append(str(folder / f'{category["name"]}_{i}.png'))
            cv2.imwrite(files[-1], on_grey(drawing))
        asked.append({'name': category['name'], 'examples': files})
    return asked


def test(args: argparse.Namespace, text: Path, folder: Path) -> dict:
    """AP and AP50 by :func:`report.evaluate`, of boxes, from the stock test tool."""
    (config,) = (args.work / 'vild').glob('*.py')
    ann_file = 'annotations/lvis_v1_unseen.json'
    run(
        STOCK_TOOLS / 'test.py',
        config,
        (args.work / 'vild' / 'last_checkpoint').read_text().strip(),
        *('--work-dir', folder / 'work', '--cfg-options'),
        f'model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings={text}',
        f'test_dataloader.dataset.ann_file={ann_file}',
        f'test_evaluator.ann_file={args.data / ann_file}',
        *('test_evaluator.metric=bbox', f'test_evaluator.outfile_prefix={folder / "results"}'),
        env={'MINI_LVIS': str(args.data)},
    )
    return report.evaluate(args.data / ann_file, folder / 'results.bbox.json', 'bbox')


def run(*command, env: dict | None = None) -> None:
    """Run a tool; its output is shown if it fails."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f'{done.stdout}\n{command[0]} failed with exit status {done.returncode}')


def main() -> None:
    """Parse the command line, test, and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, default=Path('data/mini_lvis'))
    parser.add_argument('--work', type=Path, default=Path('work_dirs/mini_lvis'))
    parser.add_argument('--drawings', type=Path, help='default: those of the demo')
    parser.add_argument('--counts', type=int, nargs='+', default=[1, 3], help='pictures a word')
    args = parser.parse_args()
    categories = json.loads((args.data / 'categories.json').read_text())
    drawings = load_drawings(args.drawings or find_drawings())
    others = [d for d in drawings if not d.held_out]
    print('| novel categories by | novel AP | novel AP50 | base AP |')
    print('|---|---:|---:|---:|')
    for count in (0, *args.counts):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            text = (args.data / 'vild' / 'text.npz').absolute()
            if count:
                asked = vocabulary(categories, others, count, folder)
                (folder / 'asked.json').write_text(json.dumps(asked))
                text = folder / 'text.npz'
                run(
                    ROOT / 'tools' / 'encode_vocabulary.py',
                    folder / 'asked.json',
                    *('--model', MODEL, '--pretrained', args.data / 'vild' / 'teacher.pt'),
                    *('--out', text),
                )
            found = test(args, text, folder)
        by = f'{count} picture{"s"[: count > 1]}' if count else 'their words'
        values = found['AP']['novel'], found['AP50']['novel'], found['AP']['base']
        print(f'| {by} | ' + ' | '.join(f'{v:.1f}' for v in values) + ' |', flush=True)


if __name__ == '__main__':
    main()
