"""All that is to be measured on a GPU, in the few minutes that there may be.

    python tools/benchmarks/gpu.py --minutes 8 --out gpu_out

Runs the parts below in order of worth, each in a process of its own and under a time limit: a part
that fails or is cut off takes nothing from the others. After each part ``results.json`` and
``report.md`` in the folder hold all there is so far; a run that is cut off loses only the part that
it is in. ``--device cpu --tiny`` runs all of it at sizes that mean nothing, to see that it works.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import torch
import train_step
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from teacher import make_images
from torch import nn
from torch.profiler import ProfilerActivity, profile

import mmdet_vild  # noqa: I001 - before mmdet imports mmcv's operators
from mmdet_vild.teacher import OpenCLIPTeacher

HERE = Path(__file__).resolve().parent
VARIANTS = ('vild-text', 'vild-image', 'vild', 'vild-ensemble')
#: A first loss that is further than this from the CPU's, relatively, is pointed out.
CLOSE = {'float32': 0.01, 'float16': 0.05, 'bfloat16': 0.1}
#: Runs a benchmark with mmcv's operators found, also where the package is not installed.
LAUNCH = (
    'import mmdet_vild, runpy, sys; sys.argv = sys.argv[1:]; '
    'runpy.run_path(sys.argv[0], run_name="__main__")'
)


def parts(args: argparse.Namespace) -> list[tuple[str, int, list[str]]]:
    """Name, most seconds (of eight minutes) and command line of each part, the worthiest first."""
    device = ['--device', args.device]
    if args.tiny:
        step = '--batch-size 1 --image-size 64 --rounds 1 --warm-up 1 --rois 16 --regions 8'
        image = '--height 64 --width 64 --rounds 1 --warm-up 1 --proposals 10 --vocabularies 80'
        return [
            (name, 120, [*command.split(), *device, *more])
            for name, command, more in (
                ('does it run', 'gpu.py --part run --tiny', []),
                (
                    'teacher',
                    'teacher.py --model mini-clip --images 2 --regions 5 --rounds 1 --batch-size 8',
                    [],
                ),
                (
                    'post-processing',
                    'postprocess.py --proposals 50 --categories 20 --max-per-img 10 --rounds 1',
                    [],
                ),
                ('training step', f'train_step.py {step} --heads 2fc', []),
                ('inference', f'inference.py {image}', ['--models', 'ViLD']),
                ('profile', 'gpu.py --part profile --tiny', []),
            )
        ]
    fp16 = ['--autocast', 'float16'] if args.device.startswith('cuda') else []
    amp = ['--amp'] if args.device.startswith('cuda') else []
    crops = 'teacher.py --images 4 --images-at-once 4 --rounds 2 --batch-size'
    step = 'train_step.py --image-size 1024 --rounds 6 --warm-up 2 --heads 2fc --batch-size'
    return [
        (name, seconds, [*command.split(), *device, *more])
        for name, seconds, command, more in (
            ('does it run', 70, 'gpu.py --part run', []),
            ('teacher ViT-B/32, batches of 1024', 60, f'{crops} 1024', fp16),
            ('training step, batch 2', 80, f'{step} 2', []),
            ('training step, batch 2, mixed precision', 80, f'{step} 2', amp),
            ('post-processing', 40, 'postprocess.py --rounds 3', []),
            ('inference', 60, 'inference.py --rounds 8', []),
            ('profile', 50, 'gpu.py --part profile', []),
            ('teacher ViT-B/32, batches of 256', 40, f'{crops} 256', fp16),
            ('teacher ViT-L/14', 60, f'{crops} 512 --model ViT-L-14-quickgelu', fp16),
            ("training step, the paper's head", 80, f'{step} 2 --heads 4conv2fc', amp),
            ('training step, batch 8, mixed precision', 80, f'{step} 8', amp),
        )
    ]


def machine(device: str) -> dict:
    """What the figures were measured on."""
    found = dict(
        machine=train_step.machine(device),
        device=device,
        cuda=torch.version.cuda if device.startswith('cuda') else None,
        mmdet_vild=mmdet_vild.__version__,
        begun=datetime.now(timezone.utc).isoformat(timespec='seconds'),
    )
    if device.startswith('cuda'):
        query = ['nvidia-smi', '--query-gpu=name,driver_version,memory.total', '--format=csv']
        done = subprocess.run(query, capture_output=True, text=True)
        found['driver'] = done.stdout.strip() or done.stderr.strip()
    return found


def run_part(command: list[str], limit: float) -> dict:
    """What a benchmark printed within so many seconds, and how it ended."""
    script, *arguments = command
    paths = [str(HERE.parents[1]), str(HERE), os.environ.get('PYTHONPATH', '')]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths)), PYTHONUNBUFFERED='1')
    started = time.monotonic()
    process = [sys.executable, '-c', LAUNCH, str(HERE / script), *arguments]
    try:
        done = subprocess.run(process, capture_output=True, timeout=limit, env=env)
        ended, out, err = f'exit status {done.returncode}', done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        ended, out, err = f'cut off after {limit:.0f} s', error.stdout or b'', error.stderr or b''
    return dict(
        command=f'python tools/benchmarks/{script} {" ".join(map(json.dumps, arguments))}',
        ended='well' if ended == 'exit status 0' else ended,
        seconds=round(time.monotonic() - started, 1),
        markdown=out.decode(errors='replace').strip(),
        error='' if ended == 'exit status 0' else err.decode(errors='replace')[-3000:],
    )


def report(results: dict) -> str:
    """The results so far, in Markdown."""
    lines = [f'{key}: {value}' for key, value in results['machine'].items() if value]
    for name, part in results['parts'].items():
        lines += ['', f'## {name}', '', f'`{part["command"]}`: ended {part["ended"]}, '
                  f'{part["seconds"]} s', '', part['markdown']]  # fmt: skip
        if part['error']:
            lines += ['', '```', *part['error'].splitlines()[-12:], '```']
    return '\n'.join(lines)


def write(path: Path, text: str) -> None:
    """Write a file that is never half there."""
    part = path.with_suffix('.part')
    part.write_text(text)
    part.replace(path)


def measure(args: argparse.Namespace) -> dict:
    """Run all parts for which there is time."""
    args.out.mkdir(parents=True, exist_ok=True)
    results = dict(machine=machine(args.device), parts={})
    end = time.monotonic() + 60 * args.minutes
    for name, seconds, command in parts(args):
        limit = min(seconds * max(args.minutes / 8, 1), end - time.monotonic())
        if limit < 5:
            left = dict(command=' '.join(command), ended='not begun: no time was left', seconds=0)
            results['parts'][name] = dict(left, markdown='', error='')
        else:
            results['parts'][name] = run_part(command, limit)
        print(f'{name}: {results["parts"][name]["ended"]}', file=sys.stderr, flush=True)
        write(args.out / 'results.json', json.dumps(results, indent=1))
        write(args.out / 'report.md', report(results))
    return results


def mini(variant: str, text: str) -> nn.Module:
    """A small detector with random weights."""
    config = Config.fromfile(
        mmdet_vild.config_path(f'mini_lvis/{variant}_r18-mini_fpn_mini-lvis.py')
    )
    heads = config.model.roi_head
    heads.bbox_head.num_classes = heads.mask_head.num_classes = train_step.CATEGORIES
    heads.bbox_head.cls_predictor_cfg.text_embeddings = text
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    return model


def does_it_run(args: argparse.Namespace, text: str) -> None:
    """One training step and one test of every variant in every precision; prints a table."""
    sizes = dict(batch_size=1, image_size=64, regions=5) if args.tiny else dict(
        batch_size=2, image_size=256, regions=50)  # fmt: skip
    batch = train_step.random_batch(argparse.Namespace(**sizes))

    def step(variant: str, device: str, dtype: str) -> tuple[float, int]:
        model = mini(variant, text).to(device).train()
        wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=1e-4)))
        torch.manual_seed(0)
        kind = torch.device(device).type
        with torch.autocast(kind, getattr(torch, dtype), enabled=dtype != 'float32'):
            losses = model.train_step(copy.deepcopy(batch), wrapper)
            with torch.no_grad():
                found = model.eval().test_step(copy.deepcopy(batch))
        return losses['loss'].item(), sum(len(each.pred_instances) for each in found)

    print("| variant | precision | loss | the CPU's, float32 | detections | |")
    print('|---|---|---:|---:|---:|---|', flush=True)
    for variant in VARIANTS:
        expected, _ = step(variant, 'cpu', 'float32')
        for dtype, close in CLOSE.items():
            if args.tiny and dtype == 'float16':
                continue  # takes a CPU too long
            try:
                loss, count = step(variant, args.device, dtype)
                # NaN is not close to anything.
                said = 'ok' if abs(loss - expected) <= close * abs(expected) else 'DIFFERS'
                row = (variant, dtype, f'{loss:.4f}', f'{expected:.4f}', str(count), said)
            except Exception as error:  # the others are to be tried, too
                said = f'{type(error).__name__}: {error}'.splitlines()[0].replace('|', '/')
                row = (variant, dtype, '', f'{expected:.4f}', '', f'FAILED: {said}')
            print(f'| {" | ".join(row)} |', flush=True)


def profiles(args: argparse.Namespace, text: str) -> None:
    """The 20 operators that take most of a training step, and of the teacher's work."""
    cuda = args.device.startswith('cuda')
    small = args.tiny
    options = '--batch-size 1 --image-size 64 --rois 16 --regions 8' if small else '--batch-size 2'
    settings = train_step.parse_args([*options.split(), '--device', args.device])
    settings.text = text
    model, wrapper = train_step.build('ViLD', settings)
    batch = train_step.random_batch(settings)
    teacher = OpenCLIPTeacher(
        'mini-clip' if small else 'ViT-B-32-quickgelu',
        device=args.device,
        batch_size=1024,
        autocast='float16' if cuda else None,
    )
    pictures = make_images(1 if small else 4, 5 if small else 300)
    images, boxes = map(list, zip(*pictures, strict=True))
    for name, run in (
        ('A training step of ViLD', lambda: train_step.step(model, wrapper, batch, args.device)),
        ('The teacher, end to end', lambda: teacher.encode_regions(images, boxes)),
    ):
        run()
        train_step.synchronize(args.device)
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
        with profile(activities=activities) as profiler:
            run()
            train_step.synchronize(args.device)
        by = 'self_device_time_total' if cuda else 'self_cpu_time_total'
        table = profiler.key_averages().table(by, row_limit=20, max_name_column_width=40)
        print(f'{name}:\n\n```\n{table.strip()}\n```\n', flush=True)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--minutes', type=float, default=8, help='after which it ends')
    parser.add_argument('--out', type=Path, default=Path('gpu_out'), help='a folder')
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--tiny', action='store_true', help='sizes that mean nothing')
    # A subprocess that runs a part of this file.
    parser.add_argument('--part', choices=['run', 'profile'], help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.minutes <= 0:
        parser.error('--minutes must be more than 0')
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error('there is no CUDA device here; --device cpu --tiny shows that the tool works')
    if not args.part:
        print(report(measure(args)))
        return
    register_all_modules()
    MMLogger.get_current_instance().setLevel('ERROR')
    with tempfile.TemporaryDirectory() as folder:
        text = train_step.random_text(os.path.join(folder, 'text.npz'))
        {'run': does_it_run, 'profile': profiles}[args.part](args, text)


if __name__ == '__main__':
    main()
