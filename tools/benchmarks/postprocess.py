"""How much sooner lazy NMS has the detections of mmdet's ``multiclass_nms``, as a ratio in one run.

    python tools/benchmarks/postprocess.py --device cuda

Both get the same boxes of 1000 proposals and their scores for 1203 categories, at the score
thresholds of the paper (0) and of mmdet's LVIS configs (1e-4): peaked ones, as a softmax over words
gives, and flat ones, as ViLD-ensemble's geometric means are. And two of the worst inputs: equal
scores, and one box for all proposals, with fewer categories than detections (--categories 200) the
harder one. They take turns; a ratio is the median over the rounds. How many detections differ is
counted in every round: of equal scores, any may come first. Wall-clock time on a GPU, CPU time on a
CPU. Prints Markdown.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from mmdet.models.layers import multiclass_nms
from mmengine.config import ConfigDict
from timing import rounds, timed
from torch import Tensor
from train_step import machine

from mmdet_vild.models import lazy_multiclass_nms

#: Standard deviation of the logits: the best of 1203 categories has 0.96, or 0.02; and whether all
#: boxes are the same.
INPUTS = {
    'peaked': (8.0, False),
    'flat': (1.0, False),
    'equal': (0.0, False),
    'flat, one box': (1.0, True),
}
THRESHOLDS = (0.0, 1e-4)
#: The least ratio; 1 elsewhere.
AIMS = {('peaked', 0.0): 100, ('flat', 0.0): 100}
IMAGE = (1333, 800)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    args = read_sizes(argv, __doc__, rounds=5)
    print(head(args))
    for scores_are, (spread, one_box) in INPUTS.items():
        boxes, scores = make(args, spread)
        if one_box:
            boxes = boxes[:1].expand_as(boxes)
        for threshold in THRESHOLDS:
            found = compare(args, boxes, scores, threshold)
            print(row(scores_are, threshold, *found), flush=True)


def read_sizes(argv: list[str] | None, doc: str, rounds: int) -> argparse.Namespace:
    """The arguments of a benchmark of what comes after the network, whose help is ``doc``."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--proposals', type=int, default=1000)
    parser.add_argument('--categories', type=int, default=1203)
    parser.add_argument('--max-per-img', type=int, default=300)
    parser.add_argument('--rounds', type=int, default=rounds)
    args = parser.parse_args(argv)
    if min(args.proposals, args.categories, args.max_per_img, args.rounds) < 1:
        parser.error('the sizes must be positive')
    return args


def make(args: argparse.Namespace, spread: float) -> tuple[Tensor, Tensor]:
    """Boxes (n, 4), some of them around the same objects, and scores (n, C + 1)."""
    generator = torch.Generator().manual_seed(0)
    objects = torch.randint(0, 40, (args.proposals,), generator=generator)
    centres = (torch.rand(40, 2, generator=generator) * torch.tensor(IMAGE))[objects]
    half = torch.exp(torch.rand(40, 2, generator=generator) * 3 + 2)[objects]
    noise = torch.randn(args.proposals, 4, generator=generator) * 0.2
    boxes = torch.cat([centres - half, centres + half], dim=1) + noise * half.repeat(1, 2)
    logits = torch.randn(40, args.categories + 1, generator=generator)[objects]
    logits = logits + 0.3 * torch.randn(logits.shape, generator=generator)
    return boxes.clamp(min=0).to(args.device), (spread * logits).softmax(1).to(args.device)


def compare(
    args: argparse.Namespace, boxes: Tensor, scores: Tensor, threshold: float
) -> tuple[float, float, float, int]:
    """Median seconds of both, the median of the ratio, and how many detections differ."""
    nms_cfg = ConfigDict(type='nms', iou_threshold=0.5)

    def run(nms: Callable) -> tuple[float, tuple[Tensor, Tensor]]:
        call = partial(nms, boxes, scores, threshold, nms_cfg, args.max_per_img)
        return timed(call, args.device)

    run(lazy_multiclass_nms)  # warms up
    times, different = [], 0
    for _ in rounds(args.rounds, name=f'threshold {threshold}'):
        (stock, expected), (lazy, found) = run(multiclass_nms), run(lazy_multiclass_nms)
        times.append((stock, lazy))
        rows = [{(*d, n) for d, n in zip(dets.tolist(), labels.tolist(), strict=True)}
                for dets, labels in (expected, found)]  # fmt: skip
        different = max(different, len(rows[0] ^ rows[1]))
    stock, lazy = map(statistics.median, zip(*times, strict=True))
    return stock, lazy, statistics.median(a / b for a, b in times), different


def head(args: argparse.Namespace) -> str:
    """What is above the rows of the Markdown table."""
    return (
        f'{args.proposals} proposals x {args.categories} categories, {args.max_per_img} '
        f'detections; {machine(args.device)}:\n\n'
        '| scores | threshold | multiclass_nms (ms) | lazy (ms) | ratio | aim | other detections |'
        '\n|---|---:|---:|---:|---:|---|---:|'
    )


def row(
    scores_are: str, threshold: float, stock: float, lazy: float, ratio: float, different: int
) -> str:
    """A row of the Markdown table, of what :func:`compare` returned."""
    aim = AIMS.get((scores_are, threshold), 1)
    verdict = 'met' if ratio >= aim else 'missed'
    return (
        f'| {scores_are} | {threshold:g} | {1000 * stock:.1f} | {1000 * lazy:.1f} | '
        f'{ratio:.1f} | {aim}: {verdict} | {different} |'
    )


if __name__ == '__main__':
    main()
