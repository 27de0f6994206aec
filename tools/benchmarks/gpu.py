"""All that is to be measured on a GPU, in the few minutes that there may be.

    python tools/benchmarks/gpu.py --minutes 8 --out gpu_out

Runs the parts below in order of worth, each in a process of its own and under a time limit: a part
that fails or is cut off takes nothing from the others. After each part ``results.json`` and
``report.md`` in the folder hold all there is so far; a run that is cut off loses only the part that
it is in. ``--device cpu --tiny`` runs all of it at sizes that mean nothing, two parts at a time, to
see that it works.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch
import train_step
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from teacher import make_images
from torch import nn
from torch.profiler import ProfilerActivity, profile

import mmdet_vild  # noqa: I001 - before mmdet imports mmcv's operators
from mmdet_vild.datasets import (
    CROWD_BOXES_KEY,
    CROWD_LABELS_KEY,
    ORIGINAL_BOXES_KEY,
    ORIGINAL_LABELS_KEY,
)
from mmdet_vild.extraction.segment_embedding_extractor import (
    BOXES_KEY,
    SegmentEmbeddingExtractor,
)
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings

HERE = Path(__file__).resolve().parent
#: A config of every system, and whether it is trained: a new one joins here.
SYSTEMS = {
    'mini_lvis/mask-rcnn_lite0_fpn_mini-lvis.py': True,
    'mini_lvis/vild-text_lite0_fpn_mini-lvis.py': True,
    'mini_lvis/vild-image_lite0_fpn_mini-lvis.py': True,
    'mini_lvis/vild_lite0_fpn_mini-lvis.py': True,
    'mini_lvis/vild-ensemble_lite0_fpn_mini-lvis.py': True,
    'mini_lvis/clip-on-crops_lite0_fpn_mini-lvis.py': False,
    'mini_lvis/region-embeddings_lite0_fpn_mini-lvis.py': False,
    'vild/vild-plus_r50_fpn_1x_ov-coco.py': True,
    'vild/vild-plus-teacher_r50_fpn_1x_ov-coco.py': False,
    'ezsd/tune-teacher_vit-b-32_12e_ov-coco.py': True,
    'ezsd/region-embeddings_clip-anchors_ov-coco.py': False,
    'ezsd/ezsd_r50_fpn_1x_ov-coco.py': True,
    'gkc/segment-embeddings_rn50_coco-panoptic.py': False,
    'gkc/gkc_r50-clip_8xb14-50k_coco-panoptic.py': True,
    'gkc/gkc-maskformer_r50_8xb14-50k_coco-panoptic.py': True,
}
#: Their categories, the last one of which is novel.
NAMES = tuple('abcde')
#: In the configs that are not of the mini world, these are so many times smaller.
WIDTHS = (
    *('in_channels', 'out_channels', 'feat_channels', 'conv_out_channels', 'fc_out_channels'),
    *('embed_dims', 'feedforward_channels', 'num_feats'),
)
NARROWER = 4
#: A first loss that is further than this from the CPU's, relatively, is pointed out.
CLOSE = {'float32': 0.01, 'float16': 0.05, 'bfloat16': 0.1}
#: At least, where a loss is that of points that each device draws for itself (Mask2Former).
CLOSE_BY_CHANCE = 0.05
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
        model = '--model mini-clip'
        size = '--images 5 --batch-size 1 --workers 2 --height 48 --width 64 --scale 96 64'
        return [
            (name, 240, [*command.split(), *device, *more])
            for name, command, more in (
                ('does it run', 'gpu.py --part run --tiny', []),
                ('teacher', f'teacher.py {model} --images 2 --regions 5 --rounds 1', []),
                ('extraction', f'extraction.py {model} {size} --regions 5', []),
                ('training step', step, []),
                ('compiled', f'{step} --compile eager', []),
                (
                    'post-processing',
                    'postprocess.py --proposals 50 --categories 20 --max-per-img 10 --rounds 1',
                    [],
                ),
                ('inference', f'inference.py {image}', ['--models', 'ViLD']),
                ('profile', 'gpu.py --part profile --tiny', []),
            )
        ]
    cuda = args.device.startswith('cuda')
    fp16, amp = (['--autocast', 'float16'], ['--amp']) if cuda else ([], [])
    crops = 'teacher.py --images 4 --images-at-once 4 --rounds 2 --batch-size'
    large = f'{crops} 1024 --model ViT-L-14-quickgelu'
    step = 'train_step.py --image-size 1024 --rounds 6 --warm-up 2 --heads'
    few = 'train_step.py --image-size 1024 --rounds 4 --warm-up 2 --compile --heads'
    mixed = 'mixed precision'
    return [
        (name, seconds, [*command.split(), *device, *more])
        for name, seconds, command, more in (
            ('does it run', 70, 'gpu.py --part run', []),
            ('teacher ViT-B/32, batches of 1024', 45, f'{crops} 1024', fp16),
            ('extraction', 60, 'extraction.py --workers 16', fp16),
            (f'training step, batch 2, {mixed}', 50, f'{step} 2fc --batch-size 2', amp),
            ('training step, batch 2', 50, f'{step} 2fc --batch-size 2', []),
            (f"the paper's head, batch 2, {mixed}", 50, f'{step} 4conv2fc --batch-size 2', amp),
            ('post-processing', 30, 'postprocess.py --rounds 3', []),
            ('inference', 60, 'inference.py --rounds 8', []),
            ('profile', 50, 'gpu.py --part profile', []),
            # Most of what follows needs more than 8 minutes in all.
            (f'training step, batch 8, {mixed}', 70, f'{step} 2fc --batch-size 8', amp),
            ('training step, batch 8', 90, f'{step} 2fc --batch-size 8', []),
            ("the paper's head, batch 2", 60, f'{step} 4conv2fc --batch-size 2', []),
            (f"the paper's head, batch 8, {mixed}", 90, f'{step} 4conv2fc --batch-size 8', amp),
            ("the paper's head, batch 8", 120, f'{step} 4conv2fc --batch-size 8', []),
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

    def run(part: tuple[str, int, list[str]]) -> dict:
        _, seconds, command = part
        limit = min(seconds * max(args.minutes / 8, 1), end - time.monotonic())
        if limit < 5:
            left = dict(command=' '.join(command), ended='not begun: no time was left', seconds=0)
            return dict(left, markdown='', error='')
        return run_part(command, limit)

    todo = parts(args)
    # Where sizes mean nothing, two may disturb each other.
    with ThreadPoolExecutor(2 if args.tiny else 1) as pool:
        for (name, *_), found in zip(todo, pool.map(run, todo), strict=True):
            results['parts'][name] = found
            print(f'{name}: {found["ended"]}', file=sys.stderr, flush=True)
            write(args.out / 'results.json', json.dumps(results, indent=1))
            write(args.out / 'report.md', report(results))
    return results


def fill(node: object, changes: dict) -> None:
    """Set these keys in a config wherever they are."""
    if isinstance(node, dict):
        node.update({key: value for key, value in changes.items() if key in node})
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, (dict, list, tuple)):
            fill(child, changes)


def narrow(node: object) -> None:
    """Set fewer channels in a config wherever they are."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key in WIDTHS:
            many = isinstance(value, (list, tuple))
            node[key] = [x // NARROWER for x in value] if many else value // NARROWER
        elif isinstance(value, (dict, list, tuple)):
            narrow(value)


def mini(config: str, folder: str) -> nn.Module:
    """A small model with random weights, words and teacher."""
    model = Config.fromfile(mmdet_vild.config_path(config)).model
    backbone = model.get('backbone')
    if backbone:
        backbone.init_cfg = None
    if not config.startswith('mini_lvis/'):
        narrow(model)
        fill(model, {'num': 64, 'max_per_img': 100, 'num_layers': 2})
        if backbone and backbone.type == 'ResNet':
            backbone.base_channels = 64 // NARROWER
        elif backbone:
            backbone.arch = ((1, 1, 1, 1), 64 // NARROWER)
    if 'panoptic_head' in model:
        model.panoptic_head.loss_cls.class_weight = [1.0] * len(NAMES) + [0.1]
    if 'teacher' in model:
        model.teacher.update(model_name='mini-clip-lite0', autocast=None)
    counts = dict.fromkeys(('num_classes', 'num_things_classes'), len(NAMES))
    files = {'text_embeddings': f'{folder}/mini.npz', 'pretrained': f'{folder}/teacher.pt'}
    fill(model, counts | files)
    torch.manual_seed(0)
    model = MODELS.build(model)
    model.init_weights()
    model.dataset_meta = dict(classes=NAMES, novel_classes=NAMES[-1:])
    return model


def mini_batch(args: argparse.Namespace, folder: str) -> dict:
    """What a data loader gives any of them; words and teacher are written into the folder."""
    torch.manual_seed(0)
    state = OpenCLIPTeacher('mini-clip-lite0').model.state_dict()
    torch.save(state, f'{folder}/teacher.pt')
    teacher = OpenCLIPTeacher('mini-clip-lite0', f'{folder}/teacher.pt')
    random_words(f'{folder}/mini.npz', teacher)
    sizes = dict(batch_size=1, image_size=64, regions=5) if args.tiny else dict(
        batch_size=2, image_size=256, regions=50)  # fmt: skip
    batch = train_step.random_batch(argparse.Namespace(**sizes))
    for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
        objects, regions = sample.gt_instances, sample.distill_instances
        objects.labels = (objects.labels % (len(NAMES) - 1)).sort().values
        boxes = objects.bboxes.long().numpy()
        kept = {
            'ori_img': image.permute(1, 2, 0).contiguous().numpy(),
            ORIGINAL_BOXES_KEY: boxes.astype(np.float32),
            ORIGINAL_LABELS_KEY: objects.labels.numpy(),
            CROWD_BOXES_KEY: np.zeros((0, 4), np.float32),
            CROWD_LABELS_KEY: np.zeros(0, np.int64),
            BOXES_KEY: boxes,
        }
        sample.set_metainfo(kept)
        # As segments of GKC.
        objects.embeddings = torch.randn(len(objects), teacher.embed_dims)
        objects.synonyms = torch.arange(len(objects)) % 2
        objects.set_metainfo(dict(teacher=teacher.identity))
        sample.distill_instances = InstanceData(
            bboxes=regions.bboxes,
            embeddings=torch.randn(len(regions), teacher.embed_dims),
            weights=torch.rand(len(regions)),
            metainfo=dict(teacher=teacher.identity),
        )
    return batch


def random_words(path: str, teacher: OpenCLIPTeacher) -> None:
    """A text-embedding file of two random rows a category."""
    rows = np.random.default_rng(0).normal(size=(len(NAMES), 2, teacher.embed_dims))
    TextEmbeddings(
        rows.mean(axis=1),
        NAMES,
        [name == NAMES[-1] for name in NAMES],
        teacher.identity,
        [[name, f'other {name}'] for name in NAMES],
        ['{}'],
        rows.reshape(-1, teacher.embed_dims),
    ).save(path)


def found(sample: DetDataSample) -> int:
    """How many objects or regions a sample has, or words its map."""
    if 'pred_instances' in sample:
        return len(sample.pred_instances)
    return len(sample.pred_sem_seg.sem_seg.unique())


def does_it_run(args: argparse.Namespace, folder: str) -> None:
    """One training step and one test of every system in every precision; prints a table."""
    batch = mini_batch(args, folder)

    def step(model: nn.Module, trains: bool, device: str, dtype: str) -> tuple[float, int]:
        model, loss = copy.deepcopy(model).to(device), 0.0
        torch.manual_seed(0)
        kind = torch.device(device).type
        with torch.autocast(kind, getattr(torch, dtype), enabled=dtype != 'float32'):
            if trains:
                wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=1e-4)))
                loss = model.train().train_step(copy.deepcopy(batch), wrapper)['loss'].item()
            tested = copy.deepcopy(batch)
            if isinstance(model, SegmentEmbeddingExtractor):
                for sample in tested['data_samples']:  # as NumberSegments leaves them
                    sample.gt_instances.labels = torch.arange(len(sample.gt_instances))
            with torch.no_grad():
                samples = model.eval().test_step(tested)
        return loss, sum(map(found, samples))

    print("| system | precision | loss | the CPU's, float32 | found | |")
    print('|---|---|---:|---:|---:|---|', flush=True)
    for config, trains in SYSTEMS.items():
        name = f'{Path(config).parent}/{Path(config).stem.split("_")[0]}'
        model = mini(config, folder)
        expected, _ = step(model, trains, 'cpu', 'float32')
        by_chance = hasattr(getattr(model, 'panoptic_head', None), 'num_points')
        for dtype, close in CLOSE.items():
            close = max(close, CLOSE_BY_CHANCE) if by_chance else close
            if args.tiny and dtype == 'float16':
                continue  # takes a CPU too long
            try:
                loss, count = step(model, trains, args.device, dtype)
                # NaN is not close to anything.
                said = 'ok' if abs(loss - expected) <= close * abs(expected) else 'DIFFERS'
                losses = [f'{x:.4f}' if trains else '' for x in (loss, expected)]
                row = (name, dtype, *losses, str(count), said)
            except Exception as error:  # the others are to be tried, too
                said = f'{type(error).__name__}: {error}'.splitlines()[0].replace('|', '/')
                row = (name, dtype, '', f'{expected:.4f}', '', f'FAILED: {said}')
            print(f'| {" | ".join(row)} |', flush=True)


def profiles(args: argparse.Namespace, folder: str) -> None:
    """The 20 operators that take most of a training step, and of the teacher's work."""
    cuda = args.device.startswith('cuda')
    small = args.tiny
    options = '--batch-size 1 --image-size 64 --rois 16 --regions 8' if small else '--batch-size 2'
    settings = train_step.parse_args([*options.split(), '--device', args.device])
    settings.text = train_step.random_text(os.path.join(folder, 'text.npz'))
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
        {'run': does_it_run, 'profile': profiles}[args.part](args, folder)


if __name__ == '__main__':
    main()
