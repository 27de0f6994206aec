"""How long the teacher takes for the best k boxes of an image, at test time.

    python tools/benchmarks/teacher_scores.py --device cuda --autocast float16

What ``TeacherScoredViLD`` adds to its detector for an image: the crops of k boxes at two scales,
their encoding, and their probabilities. The weights are random, the sizes those of the model; the
picture has 1333 x 800 pixels, and boxes of 20 to 400. Wall-clock time; the median over the rounds.
Prints Markdown.
"""

import argparse
import statistics
import time
from functools import partial

import numpy as np
import torch
from timing import rounds, timed
from torch.nn.functional import normalize
from train_step import machine

import mmdet_vild  # noqa: F401  before anything of mmdet
from mmdet_vild.teacher import OpenCLIPTeacher


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--model', default='ViT-B-32-quickgelu')
    parser.add_argument('--autocast', choices=['float16', 'bfloat16'])
    parser.add_argument('--boxes', type=int, nargs='+', default=[50, 100, 300])
    parser.add_argument('--categories', type=int, default=1203)
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args(argv)
    if min(*args.boxes, args.categories, args.rounds) < 1:
        parser.error('the sizes must be positive')
    teacher = OpenCLIPTeacher(
        args.model,
        device=args.device,
        autocast=args.autocast,
        batch_size=1024 if args.device.startswith('cuda') else None,
    )
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (800, 1333, 3), dtype=np.uint8)
    corners = rng.uniform((0, 0), (933, 400), (max(args.boxes), 2))
    sizes = np.exp(rng.uniform(np.log(20), np.log(400), (max(args.boxes), 2)))
    boxes = torch.from_numpy(np.concatenate([corners, corners + sizes], axis=1)).float()
    words = normalize(torch.randn(args.categories, teacher.embed_dims), dim=1).to(args.device)

    def scores(count: int) -> torch.Tensor:
        embeddings = teacher.encode_crops(image, boxes[:count].to(args.device))
        return (embeddings.to(words) @ words.t() / 0.01).softmax(dim=1)

    print(
        f'{args.model}, {args.autocast or "float32"}, {args.categories} words; '
        f'{machine(args.device)}:\n'
    )
    print('| boxes (k) | ms an image | ms a box |\n|---:|---:|---:|')
    scores(1)  # warms up
    for count in args.boxes:
        times = [
            timed(partial(scores, count), args.device, time.perf_counter)[0]
            for _ in rounds(args.rounds, name=f'{count} boxes')
        ]
        taken = 1000 * statistics.median(times)
        print(f'| {count} | {taken:.0f} | {taken / count:.2f} |', flush=True)


if __name__ == '__main__':
    main()
