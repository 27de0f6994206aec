"""All that is to be measured on a GPU, in the few minutes that there may be.

    python tools/benchmarks/gpu.py --minutes 8 --out gpu_out

Runs the parts below in order of worth, each in a process of its own and under a time limit: a part
that fails takes nothing from the others, and one whose time is over prints what it has (see
``timing.rounds``). After each part ``results.json`` and ``report.md`` in the folder hold all there
is so far; a run that is cut off loses only the part that it is in. ``--device cpu --tiny`` runs all
of it at sizes that mean nothing, two parts at a time, to see that it works.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import mmdet_vild  # before anything imports mmcv's operators

# isort: split
import timing
import torch
import train_step

HERE = Path(__file__).resolve().parent
#: Runs a benchmark with mmcv's operators found, also where the package is not installed.
LAUNCH = (
    'import mmdet_vild, runpy, sys; sys.argv = sys.argv[1:]; '
    'runpy.run_path(sys.argv[0], run_name="__main__")'
)


def parts(args: argparse.Namespace) -> list[tuple[str, int, list[str]]]:
    """Name, most seconds (of eight minutes) and command line of each part, the worthiest first."""
    device = ['--device', args.device]
    if args.tiny:
        step = (
            'train_step.py --batch-size 1 --image-size 64 --rounds 1 --warm-up 1 --rois 16 '
            '--regions 8 --heads 2fc --models ViLD'
        )
        image = '--height 64 --width 64 --rounds 1 --warm-up 1 --proposals 10 --vocabularies 80'
        model, lite = '--model mini-clip', '--model mini-clip-lite0'
        size = '--images 5 --batch-size 1 --workers 2 --height 48 --width 64 --scale 96 64'
        return [
            (name, 240, [*command.split(), *device, *more])
            for name, command, more in (
                ('does it run', 'does_it_run.py --tiny', []),
                ('teacher', f'teacher.py {model} --images 2 --regions 5 --rounds 1', []),
                ('extraction', f'extraction.py {model} {size} --regions 5', []),
                ("the teacher's word", f'teacher_scores.py {model} --boxes 5 --rounds 1', []),
                ('anchors', f'extraction.py {lite} {size} --regions 5 --proposer anchors', []),
                ('training step', step, []),
                ('compiled', f'{step} --compile eager', []),
                (
                    'post-processing',
                    'postprocess.py --proposals 50 --categories 20 --max-per-img 10 --rounds 1',
                    [],
                ),
                ('inference', f'inference.py {image}', ['--models', 'ViLD']),
                ('profile', 'profiles.py --tiny', []),
            )
        ]
    cuda = args.device.startswith('cuda')
    fp16, amp = (['--autocast', 'float16'], ['--amp']) if cuda else ([], [])
    crops = 'teacher.py --images 4 --images-at-once 4 --rounds 2 --batch-size'
    large = f'{crops} 1024 --model ViT-L-14-quickgelu'
    step = 'train_step.py --image-size 1024 --rounds 6 --warm-up 2 --heads'
    few = 'train_step.py --image-size 1024 --rounds 4 --warm-up 2 --compile --heads'
    anchors = '--proposer anchors --images 12 --batch-size 2'
    mixed = 'mixed precision'
    return [
        (name, seconds, [*command.split(), *device, *more])
        for name, seconds, command, more in (
            ('does it run', 90, 'does_it_run.py', []),
            ('teacher ViT-B/32, batches of 1024', 60, f'{crops} 1024', fp16),
            ('extraction', 60, 'extraction.py --workers 16', fp16),
            (f'training step, batch 2, {mixed}', 50, f'{step} 2fc --batch-size 2', amp),
            ('training step, batch 2', 50, f'{step} 2fc --batch-size 2', []),
            (f"the paper's head, batch 2, {mixed}", 50, f'{step} 4conv2fc --batch-size 2', amp),
            ('post-processing', 50, 'postprocess.py --rounds 3', []),
            ('inference', 60, 'inference.py --rounds 8', []),
            ('profile', 60, 'profiles.py', fp16),
            ("the teacher's word", 30, 'teacher_scores.py', fp16),
            # Most of what follows needs more than 8 minutes in all.
            (f'training step, batch 8, {mixed}', 70, f'{step} 2fc --batch-size 8', amp),
            ('training step, batch 8', 90, f'{step} 2fc --batch-size 8', []),
            ("the paper's head, batch 2", 60, f'{step} 4conv2fc --batch-size 2', []),
            (f"the paper's head, batch 8, {mixed}", 90, f'{step} 4conv2fc --batch-size 8', amp),
            ("the paper's head, batch 8", 120, f'{step} 4conv2fc --batch-size 8', []),
            ('anchors', 90, f'extraction.py --workers 16 {anchors}', fp16),
            ('teacher ViT-L/14, batches of 1024', 60, large, fp16),
            (f'compiled, batch 2, {mixed}', 240, f'{few} 2fc --batch-size 2', amp),
            ('compiled, batch 2', 240, f'{few} 2fc --batch-size 2', []),
            ("compiled, the paper's head", 240, f'{few} 4conv2fc --batch-size 2', amp),
            ('compiled, batch 8', 240, f'{few} 2fc --batch-size 8', amp),
            ('teacher ViT-B/32, batches of 256', 40, f'{crops} 256', fp16),
            ('teacher ViT-B/32, batches of 4096', 40, f'{crops} 4096', fp16),
            (
                'teacher ViT-L/14, batches of 256',
                60,
                f'{crops} 256 --model ViT-L-14-quickgelu',
                fp16,
            ),
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
        try:
            done = subprocess.run(query, capture_output=True, text=True)
            found['driver'] = done.stdout.strip() or done.stderr.strip()
        except OSError as error:  # not where torch has its own libraries
            found['driver'] = str(error)
    return found


def run_part(command: list[str], limit: float) -> dict:
    """What a benchmark printed within so many seconds, and how it ended."""
    script, *arguments = command
    paths = [str(HERE.parents[1]), str(HERE), os.environ.get('PYTHONPATH', '')]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths)), PYTHONUNBUFFERED='1')
    env[timing.END] = str(time.time() + limit - 5)  # what it has is printed in less
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

    def run(part: tuple[str, int, list[str]]) -> dict:
        _, seconds, command = part
        limit = min(seconds * max(args.minutes / 8, 1), end - time.monotonic())
        if limit < 5:
            left = dict(command=' '.join(command), ended='not begun: no time was left', seconds=0)
            return dict(left, markdown='', error='')
        return run_part(command, limit)

    todo = parts(args)
    # Where sizes mean nothing, two may disturb each other; they have a thread each.
    if args.tiny:
        os.environ.setdefault('OMP_NUM_THREADS', '1')
    with ThreadPoolExecutor(2 if args.tiny else 1) as pool:
        for (name, *_), found in zip(todo, pool.map(run, todo), strict=True):
            results['parts'][name] = found
            print(f'{name}: {found["ended"]}', file=sys.stderr, flush=True)
            write(args.out / 'results.json', json.dumps(results, indent=1))
            write(args.out / 'report.md', report(results))
    return results


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--minutes', type=float, default=8, help='after which it ends')
    parser.add_argument('--out', type=Path, default=Path('gpu_out'), help='a folder')
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--tiny', action='store_true', help='sizes that mean nothing')
    args = parser.parse_args(argv)
    if args.minutes <= 0:
        parser.error('--minutes must be more than 0')
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error('there is no CUDA device here; --device cpu --tiny shows that the tool works')
    print(report(measure(args)))


if __name__ == '__main__':
    main()
