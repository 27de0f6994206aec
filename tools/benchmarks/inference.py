"""Time to detect in an image, over MMDetection's stock LVIS Mask R-CNN, as ratios in one run.

    python tools/benchmarks/inference.py --device cuda

Every model has the same ResNet-50 FPN and RPN with the same random weights and sees the same random
image; each is tested at its own settings, the stock config with a score threshold of 1e-4, ViLD
with the paper's, 0; all give 300 detections with masks. A random classifier is undecided, which
makes mmdet's NMS take many times as long as a trained one's; so the stock config's is made as
decided as ViLD's, and 95% certain of background. The models take turns, an image each a round; a
ratio is the median over the rounds.

A second table has what words cost as the vocabulary grows: projecting 1000 RoIs and comparing them
with the words, and finding 300 detections among their scores. Prints Markdown.
"""

import argparse
import math
import os
import statistics
import tempfile
from functools import partial

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from timing import rounds, timed
from torch import nn
from torch.nn.functional import pad
from train_step import EMBED_DIMS, MODELS_OF, config_of, machine, random_text

from mmdet_vild.models import CLIPTextClassifier, lazy_detections

BASELINE = 'Mask R-CNN'
VOCABULARIES = (80, 365, 1203, 5000, 20000)
ROIS = 1000


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--height', type=int, default=800)
    parser.add_argument('--width', type=int, default=1333)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--warm-up', type=int, default=3, help='rounds that do not count')
    parser.add_argument('--proposals', type=int, default=ROIS)
    parser.add_argument('--models', nargs='+', choices=MODELS_OF, default=list(MODELS_OF))
    parser.add_argument('--vocabularies', nargs='+', type=int, default=VOCABULARIES)
    args = parser.parse_args(argv)
    if (
        min(args.rounds, args.warm_up, args.height, args.width, args.proposals, *args.vocabularies)
        < 1
    ):
        parser.error('sizes and rounds must be 1 or more')
    return args


def build(name: str, text: str, args: argparse.Namespace) -> nn.Module:
    """A model at its own test settings, with the random weights that all have."""
    cfg = config_of(name, text).model
    cfg.test_cfg.rpn.max_per_img = args.proposals
    model = MODELS.build(cfg)
    torch.manual_seed(0)
    model.init_weights()
    return model.to(args.device).eval()


def random_image(args: argparse.Namespace) -> dict:
    """A batch of one image, as the data loader gives it."""
    shape = (args.height, args.width)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (3, *shape), dtype=torch.uint8, generator=generator)
    metainfo = dict(img_id=0, img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
    return dict(inputs=[image], data_samples=[DetDataSample(metainfo=metainfo)])


@torch.no_grad()
def decide(model: nn.Module, batch: dict) -> None:
    """Give a learned classifier logits that spread as similarities over 0.01 do, and make it 95%
    certain that a region is background, as most are to a trained one."""
    classifier = model.roi_head.bbox_head.fc_cls
    if isinstance(classifier, CLIPTextClassifier):
        return
    seen = []
    hook = classifier.register_forward_hook(lambda *call: seen.append(call[2]))
    model.test_step(batch)
    hook.remove()
    scale = 100 / EMBED_DIMS**0.5 / seen[0].std(dim=1).mean()
    classifier.weight *= scale
    logits = seen[0] * scale
    behind = logits[:, :-1].logsumexp(dim=1) - logits[:, -1]
    classifier.bias[-1] = behind.mean() + math.log(0.95 / 0.05)


@torch.no_grad()
def measure_images(args: argparse.Namespace, folder: str) -> str:
    """The table of whole images."""
    batch, text = random_image(args), random_text(os.path.join(folder, 'text.npz'))
    models = {name: build(name, text, args) for name in args.models}
    for model in models.values():
        decide(model, batch)
    seconds = {name: [] for name in models}
    found = {}
    for round_ in rounds(args.rounds, args.warm_up, 'images'):
        for name, model in models.items():
            taken, found[name] = timed(partial(model.test_step, batch), args.device)
            if round_ >= 0:
                seconds[name].append(taken)
    rows = ['| model | image (ms) | ratio | range | detections |', '|---|---:|---:|---|---:|']
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds[args.models[0]], strict=True)]
        rows.append(
            f'| {name} | {1000 * statistics.median(values):.0f} | {statistics.median(ratios):.2f} '
            f'| {min(ratios):.2f}-{max(ratios):.2f} | {len(found[name][0].pred_instances)} |'
        )
    return '\n'.join(rows)


@torch.no_grad()
def measure_words(args: argparse.Namespace, folder: str) -> None:
    """Print the table of vocabularies."""
    torch.manual_seed(0)
    features = torch.randn(ROIS, 1024, device=args.device)
    start = torch.rand(ROIS, 2) * 700
    boxes = torch.cat([start, start + 20 + torch.rand(ROIS, 2) * 300], dim=1).to(args.device)
    test_cfg = ConfigDict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=300)
    print('\n1000 RoIs:\n\n| words | comparing (ms) | detections (ms) |\n|---:|---:|---:|')
    for count in args.vocabularies:
        text = random_text(os.path.join(folder, f'{count}.npz'), count)
        classifier = CLIPTextClassifier(1024, count + 1, text)
        classifier.init_weights()
        classifier.to(args.device).eval()
        scores = classifier(features).softmax(dim=1)[:, :-1]
        runs = (
            partial(classifier, features),
            partial(lazy_detections, boxes, pad(scores, (0, 1)), test_cfg),
        )
        values = []
        for run in runs:
            turns = rounds(args.rounds, args.warm_up, f'{count} words')
            taken = [timed(run, args.device)[0] for _ in turns]
            values.append(1000 * statistics.median(taken[args.warm_up :]))
        print(f'| {count} | {values[0]:.1f} | {values[1]:.1f} |', flush=True)


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(argv)
    args.models = [BASELINE, *(name for name in args.models if name != BASELINE)]
    register_all_modules()
    MMLogger.get_current_instance().setLevel('WARNING')  # every parameter's initialisation
    clock = 'wall-clock' if args.device.startswith('cuda') else 'CPU'
    print(f'Machine: {machine(args.device)}')
    print(
        f'Setting: an image of {args.width}x{args.height}, {args.proposals} proposals, 1203 '
        f'categories, float32; at most {args.rounds} rounds after {args.warm_up} of warm-up; '
        f'{clock} time'
    )
    with tempfile.TemporaryDirectory() as folder:
        print(f'\n{measure_images(args, folder)}', flush=True)
        measure_words(args, folder)


if __name__ == '__main__':
    main()
