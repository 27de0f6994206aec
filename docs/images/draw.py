"""Draws the figures of the documentation, after ``make demo`` (the web page after
``make web-demo``, segments after ``make demo-gkc``).

    python docs/images/draw.py demo 2415            # what each method detects in a test picture
    # before and after two novel words are asked for
    python docs/images/draw.py words 2415 --words "ice skate" "lab coat"
    # the web page at work
    python docs/images/draw.py page 2415 2396 \\
        --words "ice skate, lab coat, turtle" "microscope, frog"
    # what plain Mask2Former and GKC segment, asked for words of which some are novel
    python docs/images/draw.py segments 2480 --words beetle carrot helicopter motorcycle pancake \\
        "trailer truck" sand floor-wood

The numbers are those of pictures in ``data/mini_lvis/val2017``.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import mmcv
import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'mini_lvis'))

import pictures  # noqa: E402
from mmdet.apis import inference_detector  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.structures import PixelData  # noqa: E402
from PIL import Image  # noqa: E402

from mmdet_vild import load_detector  # noqa: E402
from mmdet_vild.vocabulary import is_novel, load_categories, readable_name  # noqa: E402

HERE = Path(__file__).parent
DATA, WORK = ROOT / 'data' / 'mini_lvis', ROOT / 'work_dirs' / 'mini_lvis'
CONFIG, CHECKPOINT = WORK / 'vild/vild_lite0_fpn_mini-lvis.py', WORK / 'vild/iter_700.pth'
WIDTH, HEIGHT = 830, 640


def picture_of(number: int) -> Path:
    """The file of a test picture."""
    return DATA / 'val2017' / f'{number:012d}.jpg'


def draw_demo(number: int) -> None:
    """One of the demo's pictures."""
    drawn = mmcv.imread(str(WORK / 'pictures' / f'{number:012d}.png'))
    mmcv.imwrite(drawn, str(HERE / 'demo.jpg'), [1, 88])


def draw_words(number: int, words: list[str]) -> None:
    """What is found when only learned words are asked for, and when ``words`` are, too."""
    model = load_detector(str(CONFIG), str(CHECKPOINT), 'cpu')
    own = model.vocabulary
    learned = [name for name, novel in zip(own.names, own.novel, strict=True) if not novel]
    model.roi_head.test_cfg.with_vocabulary = False
    visualizer = pictures.make_visualizer(own.names, learned)
    file = picture_of(number)
    panels = []
    for title, asked in (
        (f'asked for {len(learned)} learned words', learned),
        (f'and for {", ".join(words)}', [*learned, *words]),
    ):
        sample = inference_detector(model, str(file), None, asked, True)
        found = sample.pred_instances
        sample.pred_instances = found[found.scores > 0.3]
        panels.append(pictures.panel(visualizer, mmcv.imread(str(file))[..., ::-1], title, sample))
    mmcv.imwrite(pictures.in_columns(panels), str(HERE / 'words.jpg'), [1, 88])


def draw_segments(number: int, words: list[str]) -> None:
    """The segments of ``words`` as annotated, by plain Mask2Former and by GKC."""
    file = picture_of(number)
    names = json.loads((DATA / 'semantic_classes.json').read_text())
    categories = load_categories(str(DATA / 'categories.json'))
    learned = [readable_name(c['name']) for c in categories if not is_novel(c)]
    learned += map(readable_name, names[len(categories) :])
    labels = [[readable_name(name) for name in names].index(readable_name(w)) for w in words]
    truth = mmcv.imread(str(DATA / 'semantic/val2017' / f'{file.stem}.png'), 'unchanged')
    asked = np.full(truth.shape, 255)
    for i, label in enumerate(labels):
        asked[truth == label] = i
    sem_seg = PixelData(
        sem_seg=torch.from_numpy(asked[None]),
        metainfo=dict(
            label_names=words,
            novel=torch.tensor([readable_name(word) not in learned for word in words]),
            ignore_index=255,
        ),
    )
    samples = {'annotated (star: novel)': DetDataSample(pred_sem_seg=sem_seg)}
    for title, method in (('plain', 'gkc-plain'), ('GKC', 'gkc')):
        (config,) = (WORK / method).glob('*.py')
        checkpoint = (WORK / method / 'last_checkpoint').read_text().strip()
        model = load_detector(str(config), checkpoint, 'cpu')
        samples[title] = inference_detector(model, str(file), None, words, True)
    visualizer = pictures.make_visualizer(words, learned)
    picture = mmcv.imread(str(file))[..., ::-1]
    panels = [pictures.panel(visualizer, picture, *each) for each in samples.items()]
    width = max(panel.shape[1] for panel in panels)
    panels = [
        np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0)), constant_values=255)
        for each in panels
    ]
    drawn = pictures.in_columns(panels)
    drawn = mmcv.imrescale(drawn, (1600, 1600), interpolation='area')
    mmcv.imwrite(drawn, str(HERE / 'segments.jpg'), [1, 88])


def record_page(numbers: list[int], words: list[str]) -> None:
    """A visitor chooses a picture, types words and sees them found: ``web_demo.gif``."""
    from playwright.sync_api import sync_playwright

    files = [str(picture_of(number)) for number in numbers]
    command = [sys.executable, ROOT / 'tools/web_demo.py', CONFIG, CHECKPOINT, '--examples', *files]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    frames, durations = [], []
    try:
        url = next(line.split()[-1] for line in server.stdout if 'Running on' in line)
        browser = shutil.which('chromium') or shutil.which('google-chrome')
        with sync_playwright() as playwright:
            opened = playwright.chromium.launch(executable_path=browser, args=['--no-sandbox'])
            page = opened.new_page(viewport=dict(width=WIDTH, height=HEIGHT))

            def shoot(milliseconds: int) -> None:
                frames.append(Image.open(io.BytesIO(page.screenshot())).convert('RGB'))
                durations.append(milliseconds)

            page.goto(url)
            page.locator('#detect').wait_for()
            shoot(1200)
            for file, typed in zip(files, words, strict=True):
                if page.locator('#picture button[aria-label="Clear"]').count():
                    page.locator('#picture button[aria-label="Clear"]').click()
                page.locator('#picture input[type=file]').set_input_files(file)
                page.locator('#picture img').wait_for()
                box = page.locator('#words textarea')
                box.fill('')
                for end in range(0, len(typed) + 1, 4):
                    box.fill(typed[:end])
                    shoot(120)
                box.fill(typed)
                shoot(500)
                page.locator('#detect').click()
                page.locator('#found table').wait_for()
                page.wait_for_timeout(1500)
                shoot(3500)
                page.evaluate('scrollTo(0, 0)')
                page.wait_for_timeout(500)
            opened.close()
    finally:
        server.kill()
    palette = frames[-1].quantize(255, method=Image.Quantize.MEDIANCUT)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    out = HERE / 'web_demo.gif'
    frames[0].save(
        out, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True
    )
    print(f'{out}: {len(frames)} frames, {np.round(out.stat().st_size / 2**20, 2)} MB')


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('figure', choices=('demo', 'words', 'page', 'segments'))
    parser.add_argument('pictures', nargs='+', type=int)
    parser.add_argument('--words', nargs='+', default=())
    args = parser.parse_args()
    if args.figure == 'demo':
        draw_demo(args.pictures[0])
    elif args.figure == 'words':
        draw_words(args.pictures[0], args.words)
    elif args.figure == 'segments':
        draw_segments(args.pictures[0], list(args.words))
    else:
        record_page(args.pictures, args.words)


if __name__ == '__main__':
    main()
