"""What objectness in scores and the suppression of partial objects add to the post-processing.

    python tools/benchmarks/rescoring.py

Both come after NMS, of the same boxes and scores as in ``postprocess.py``, at threshold 0: peaked
scores, flat ones, and sigmoids, which have any sum. And the worst input, for which no aim is set,
all detections of one category: every pair of them is compared, and NMS itself takes little. With
and without take turns; a ratio is the median over the rounds. Wall-clock time on a GPU, CPU time
on a CPU. Prints Markdown.
"""

import argparse
import statistics
from functools import partial

import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from postprocess import make, read_sizes
from timing import rounds, timed
from torch import Tensor
from train_step import machine

from mmdet_vild.models import Words
from mmdet_vild.models.explained_detections import explained_detections

#: The most that they may add.
AIM = 1.05
ADDED = dict(objectness_weight=0.3, partial=dict(overlap=0.8, score_ratio=0.5))


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    args = read_sizes(argv, __doc__, rounds=21)
    boxes, peaked = make(args, 8.0)
    _, flat = make(args, 1.0)
    inputs = {
        'peaked': peaked[:, :-1],
        'flat': flat[:, :-1],
        'sigmoid': (flat[:, :-1].log() + 3).sigmoid(),
        'one category': flat[:, :1],
    }
    print(report(args, [(name, *compare(args, boxes, inputs[name])) for name in inputs]))


def compare(args: argparse.Namespace, boxes: Tensor, scores: Tensor) -> tuple[float, ...]:
    """Median seconds without and with, the median of the ratio, and how many detections go."""
    count = scores.shape[1]
    novel = torch.zeros(count, dtype=torch.bool, device=args.device)
    words = Words(('word',) * count, scores[:0], novel, count)
    parts = {'objectness': torch.rand(len(scores), device=args.device)}

    def run(settings: dict) -> tuple[float, InstanceData]:
        cfg = ConfigDict(
            score_thr=0.0,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=args.max_per_img,
            **settings,
        )
        call = partial(explained_detections, boxes, scores, cfg, words, parts)
        return timed(call, args.device)

    run(ADDED)  # warms up
    done = [(run({}), run(ADDED)) for _ in rounds(args.rounds)]
    without, with_them = (statistics.median(r[i][0] for r in done) for i in (0, 1))
    ratio = statistics.median(b[0] / a[0] for a, b in done)
    return without, with_them, ratio, len(done[0][0][1]) - len(done[0][1][1])


def report(args: argparse.Namespace, rows: list[tuple]) -> str:
    """The Markdown table."""
    lines = [
        f'{args.proposals} proposals x {args.categories} categories, {args.max_per_img} '
        f'detections; {machine(args.device)}:',
        '',
        '| scores | NMS (ms) | and both (ms) | ratio | aim | fewer detections |',
        '|---|---:|---:|---:|---|---:|',
    ]
    for scores_are, without, with_them, ratio, fewer in rows:
        verdict = f'{AIM}: {"met" if ratio <= AIM else "missed"}'
        verdict = 'none' if scores_are == 'one category' else verdict
        lines.append(
            f'| {scores_are} | {1000 * without:.1f} | {1000 * with_them:.1f} | {ratio:.3f} | '
            f'{verdict} | {fewer} |'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
