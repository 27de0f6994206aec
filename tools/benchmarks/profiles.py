"""The 20 operators that take most of a training step, of the teacher, and of an extraction.

    python tools/benchmarks/profiles.py --device cuda --autocast float16

Torch's profiler, of one training step of ViLD, of the teacher on regions of pictures, and of a
whole extraction as ``extraction.py`` runs it, with its loader processes and the store's writes.
Prints Markdown.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import mmdet_vild  # noqa: F401  before anything imports mmcv's operators

# isort: split
import extraction
import teacher
import train_step
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger
from timing import synchronize
from torch.profiler import ProfilerActivity, profile

from mmdet_vild.teacher import OpenCLIPTeacher


def show(name: str, run: Callable[[], object], device: str) -> None:
    """Print the operators of a call."""
    cuda = device.startswith('cuda')
    synchronize(device)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] * cuda)]) as profiler:
        run()
        synchronize(device)
    by = 'self_device_time_total' if cuda else 'self_cpu_time_total'
    table = profiler.key_averages().table(by, row_limit=20, max_name_column_width=40)
    print(f'{name}:\n\n```\n{table.strip()}\n```\n', flush=True)


def training_step(args: argparse.Namespace, folder: str) -> None:
    """Of ViLD with the stock head."""
    sizes = '--batch-size 1 --image-size 64 --rois 16 --regions 8' if args.tiny else ''
    settings = train_step.parse_args([*sizes.split(), '--device', args.device])
    settings.text = train_step.random_text(os.path.join(folder, 'text.npz'))
    model, wrapper = train_step.build('ViLD', settings)
    batch = train_step.random_batch(settings)

    def run() -> None:
        train_step.step(model, wrapper, batch, args.device)

    run()
    show('A training step of ViLD', run, args.device)


def crops(args: argparse.Namespace, name: str) -> None:
    """Of the teacher alone, from pictures and boxes to embeddings."""
    clip = OpenCLIPTeacher(name, device=args.device, batch_size=1024, autocast=args.autocast)
    images, boxes = zip(*teacher.make_images(*((1, 5) if args.tiny else (4, 300))), strict=True)

    def run() -> None:
        clip.encode_regions(images, boxes)

    run()
    show('The teacher', run, args.device)


def whole_extraction(args: argparse.Namespace, folder: str, name: str) -> None:
    """Of what the test tool would do."""
    sizes = '--images 24 --batch-size 4'
    if args.tiny:
        sizes = '--images 4 --batch-size 1 --height 48 --width 64 --scale 96 64 --regions 5'
        sizes += ' --workers 2'
    options = ['--model', name, '--device', args.device, *sizes.split()]
    options += ['--autocast', args.autocast] if args.autocast else []
    settings = extraction.parse_args(options)
    extraction.make_data(settings, Path(folder))

    with redirect_stdout(sys.stderr):  # pycocotools prints
        extraction.prepare(settings, Path(folder), False)[0].test()
        runner, _ = extraction.prepare(settings, Path(folder), True)

    def run() -> None:
        with redirect_stdout(sys.stderr):
            runner.test()

    show('An extraction', run, args.device)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--autocast', choices=['float16', 'bfloat16'])
    parser.add_argument('--tiny', action='store_true', help='sizes that mean nothing')
    args = parser.parse_args(argv)
    register_all_modules()
    MMLogger.get_current_instance().setLevel('ERROR')
    name = 'mini-clip' if args.tiny else 'ViT-B-32-quickgelu'
    with tempfile.TemporaryDirectory() as folder:
        training_step(args, folder)
        crops(args, name)
        whole_extraction(args, folder, name)


if __name__ == '__main__':
    main()
