"""Step time and peak memory of ViLD over MMDetection's stock LVIS Mask R-CNN, as ratios.

    python tools/benchmarks/train_step.py --device cuda --batch-size 2 --image-size 1024

All models have the same ResNet-50 FPN with random weights, see the same random images, sample 512
RoIs an image and know 1203 categories; ViLD learns from 300 more regions an image. A step is data
preprocessing, forward, losses, backward and the optimizer. In every round each model takes one
step, so that a change in the machine's speed meets all of them; ratios are medians over the
rounds. On a CPU memory is measured in a fresh process for each model. Prints Markdown.
"""

import argparse
import copy
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mmdet_vild  # before anything imports mmcv's operators

# isort: split
import mmcv
import mmdet
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.structures import InstanceData
from timing import ratio, rounds, timed
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_vild.vocabulary import TextEmbeddings

CATEGORIES, NOVEL, EMBED_DIMS, OBJECTS = 1203, 337, 512, 10
TEACHER = 'random@0'
STOCK = 'lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py'
MIB = 2**20

#: A model is a config and the number of convs in its bbox head; two FCs follow.
MODELS_OF = {
    'Mask R-CNN': (STOCK, 0),
    'ViLD': ('vild/vild_r50_fpn_20e_lvis-v1.py', 0),
    'ViLD-ensemble': ('vild/vild-ensemble_r50_fpn_20e_lvis-v1.py', 0),
    'Mask R-CNN, 4 convs': (STOCK, 4),
    'ViLD, 4 convs': ('vild/vild_r50_fpn_20e_lvis-v1.py', 4),
    'ViLD-ensemble, 4 convs': ('vild/vild-ensemble_r50_fpn_20e_lvis-v1.py', 4),
}
#: The most that a step may take, of what the stock config's takes.
AIMS = {'ViLD': 1.1, 'ViLD-ensemble': 1.3}
#: Which models are compared with the stock config, by the bbox head that they have.
COMPARISONS = {
    '2fc': (
        "The stock config's bbox head (2 FCs): what ViLD costs",
        ('Mask R-CNN', 'ViLD', 'ViLD-ensemble'),
    ),
    '4conv2fc': (
        "The paper's bbox head (4 convs and 2 FCs)",
        ('Mask R-CNN', 'Mask R-CNN, 4 convs', 'ViLD, 4 convs', 'ViLD-ensemble, 4 convs'),
    ),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--batch-size', type=int, default=2, help='images a step')
    parser.add_argument('--image-size', type=int, default=1024, help='side of the square images')
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--warm-up', type=int, default=3, help='rounds that do not count')
    parser.add_argument('--amp', action='store_true', help='mixed precision, on CUDA only')
    parser.add_argument(
        '--compile',
        nargs='?',
        const='inductor',
        metavar='BACKEND',
        help='torch.compile, as mmengine does for compile=True; FLOPs are not counted then',
    )
    parser.add_argument('--heads', nargs='+', choices=COMPARISONS, default=list(COMPARISONS))
    parser.add_argument('--models', nargs='+', choices=MODELS_OF, help='only these of them')
    parser.add_argument('--rois', type=int, default=512, help='sampled RoIs an image')
    parser.add_argument('--regions', type=int, default=300, help='distillation RoIs an image')
    # A subprocess that measures memory: which model, with which text-embedding file.
    parser.add_argument('--memory-of', choices=MODELS_OF, help=argparse.SUPPRESS)
    parser.add_argument('--text', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.amp and not args.device.startswith('cuda'):
        parser.error('--amp needs --device cuda')
    if args.rounds < 1 or args.warm_up < 1:
        parser.error('--rounds and --warm-up must be 1 or more')
    return args


def random_text(
    path: str,
    count: int = CATEGORIES,
    width: int = EMBED_DIMS,
    teacher: str = TEACHER,
    novel: int = NOVEL,
) -> str:
    """Write a text-embedding file of random words; returns its path."""
    TextEmbeddings(
        np.random.default_rng(0).normal(size=(count, width)),
        tuple(f'category {i}' for i in range(count)),
        np.arange(count) >= count - novel,
        teacher,
    ).save(path)
    return path


def random_batch(args: argparse.Namespace) -> dict:
    """A batch as the data loader gives it: images, objects and distillation regions."""
    size = args.image_size
    generator = torch.Generator().manual_seed(0)

    def boxes(count: int) -> torch.Tensor:
        start = torch.rand(count, 2, generator=generator) * size * 0.7
        sides = size * (0.05 + 0.25 * torch.rand(count, 2, generator=generator))
        return torch.cat([start, start + sides], dim=1)

    inputs, samples = [], []
    for _ in range(args.batch_size):
        gt, regions = boxes(OBJECTS), boxes(args.regions)
        masks = np.zeros((OBJECTS, size, size), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, gt.long().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample(
            metainfo=dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0))
        )
        sample.gt_instances = InstanceData(
            bboxes=gt,
            labels=torch.randint(CATEGORIES - NOVEL, (OBJECTS,), generator=generator),
            masks=BitmapMasks(masks, size, size),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        sample.distill_instances = InstanceData(
            bboxes=regions,
            embeddings=torch.randn(args.regions, EMBED_DIMS, generator=generator),
            metainfo=dict(teacher=TEACHER),
        )
        image = torch.randint(256, (3, size, size), dtype=torch.uint8, generator=generator)
        inputs.append(image)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def config_of(name: str, text: str) -> Config:
    """The config of a model, without pretrained weights.

    Args:
        name: A key of ``MODELS_OF``.
        text: Its text-embedding file, if it has words.
    """
    file, convs = MODELS_OF[name]
    if file == STOCK:
        cfg = Config.fromfile(str(Path(mmdet.__path__[0]) / '.mim' / 'configs' / file))
        if convs:
            cfg.model.roi_head.bbox_head.update(type='ConvFCBBoxHead', num_shared_fcs=2)
    else:
        cfg = Config.fromfile(mmdet_vild.config_path(file))
        cfg.model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings = text
        # What the stock config has: the two are to differ in ViLD alone.
        cfg.model.backbone.frozen_stages = 1
        cfg.model.neck.norm_cfg = None
        cfg.model.roi_head.bbox_head.update(norm_cfg=None, num_shared_fcs=2)
    if convs or file != STOCK:
        cfg.model.roi_head.bbox_head.num_shared_convs = convs
    cfg.model.backbone.init_cfg = None
    return cfg


def build(name: str, args: argparse.Namespace) -> tuple[nn.Module, OptimWrapper]:
    """A model with random weights on the device, and its optimizer."""
    cfg = config_of(name, args.text)
    cfg.model.train_cfg.rcnn.sampler.num = args.rois
    model = MODELS.build(cfg.model)
    # The same backbone, neck and RPN in all models, and so the same proposals.
    torch.manual_seed(0)
    model.init_weights()
    model.to(args.device).train()
    # Random data teaches nothing: a small rate keeps the weights, and so the work, as they are.
    optimizer = dict(type='SGD', lr=1e-6, momentum=0.9, weight_decay=1e-4)
    wrapper = dict(type='AmpOptimWrapper' if args.amp else 'OptimWrapper', optimizer=optimizer)
    if args.compile:
        model.train_step = torch.compile(model.train_step, backend=args.compile)
    return model, build_optim_wrapper(model, wrapper)


def progress(message: str) -> None:
    """Say on standard error what is being measured; standard output is the report."""
    print(message, file=sys.stderr, flush=True)


def step(model: nn.Module, optim_wrapper: OptimWrapper, batch: dict, device: str) -> float:
    """One training step; returns its seconds, as :func:`timed` does."""
    torch.manual_seed(0)
    np.random.seed(0)
    batch = copy.deepcopy(batch)
    return timed(lambda: model.train_step(batch, optim_wrapper), device)[0]


def peak_memory(device: str) -> int:
    """Most memory in bytes that this process has held so far, on the device."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated(device)
    status = Path('/proc/self/status')
    if status.is_file():
        # Unlike ru_maxrss, it does not start at what the parent process held.
        found = re.search(r'VmHWM:\s*(\d+) kB', status.read_text())
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == 'darwin' else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure_memory(name: str, args: argparse.Namespace) -> int:
    """Peak memory in bytes that a model, its optimizer and two steps take in this process."""
    batch = random_batch(args)
    before = peak_memory(args.device)
    model, optim_wrapper = build(name, args)
    for _ in range(2):
        step(model, optim_wrapper, batch, args.device)
    return peak_memory(args.device) - before


def memory_of(name: str, args: argparse.Namespace) -> int | None:
    """:func:`measure_memory`, on a CPU in a fresh process; None where that would be compiled."""
    if args.device.startswith('cuda'):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(args.device)
        return measure_memory(name, args)
    if args.compile:
        return None
    command = [sys.executable, __file__, '--memory-of', name, '--text', args.text]
    for option in ('device', 'batch_size', 'image_size', 'rois', 'regions'):
        command += [f'--{option.replace("_", "-")}', str(getattr(args, option))]
    progress(f'memory of {name}')
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f'measuring the memory of {name} failed; see above')
    return json.loads(done.stdout.splitlines()[-1])


def measure_steps(
    names: list[str], args: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of every step of every model, round by round, and the FLOPs of a step."""
    batch = random_batch(args)
    models = {name: build(name, args) for name in names}
    flops, seconds = {}, {name: [] for name in names}
    for round_ in rounds(args.rounds, args.warm_up):
        for name, (model, optim_wrapper) in models.items():
            if round_ == -args.warm_up and not args.compile:
                with FlopCounterMode(display=False) as counter:
                    step(model, optim_wrapper, batch, args.device)
                flops[name] = counter.get_total_flops()
                continue
            taken = step(model, optim_wrapper, batch, args.device)
            if round_ >= 0:
                seconds[name].append(taken)
    return seconds, flops


def table(
    names: Sequence[str],
    seconds: dict[str, list[float]],
    flops: dict[str, int],
    memory: dict[str, int | None],
) -> str:
    """A Markdown table of models over the first; nothing where nothing was measured."""
    rows = [
        '| model | step (ms) | time ratio | range | memory (MiB) | memory ratio | FLOPs ratio |',
        '|---|---:|---:|---|---:|---:|---:|',
    ]
    for name in names:
        ratios = [a / b for a, b in zip(seconds[name], seconds[names[0]], strict=True)]
        held = ('', '')
        if memory[name]:
            held = (f'{memory[name] / MIB:.0f}', f'{memory[name] / memory[names[0]]:.2f}')
        work = f'{flops[name] / flops[names[0]]:.2f}' if flops else ''
        rows.append(
            f'| {name} | {1000 * statistics.median(seconds[name]):.0f} '
            f'| {statistics.median(ratios):.2f} | {min(ratios):.2f}-{max(ratios):.2f} '
            f'| {" | ".join(held)} | {work} |'
        )
    return '\n'.join(rows)


def aims(names: Sequence[str], seconds: dict[str, list[float]]) -> str:
    """Of each model for which there is one, whether it is met."""
    said = []
    for name in names[1:] if names[0] == 'Mask R-CNN' else ():
        most = AIMS.get(name.split(',')[0])
        if most:
            met = 'met' if ratio(seconds[name], seconds[names[0]]) <= most else 'missed'
            said.append(f'{name} at most {most:.2f} ({met})')
    return f'\n\nAims: {", ".join(said)}.' if said else ''


def machine(device: str) -> str:
    """The machine and the versions, in words."""
    name = platform.processor() or platform.machine()
    if device.startswith('cuda'):
        name = torch.cuda.get_device_name(device)
    elif Path('/proc/cpuinfo').is_file():
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        name = next((x.split(':')[1].strip() for x in lines if x.startswith('model name')), name)
    threads = '' if device.startswith('cuda') else f', {torch.get_num_threads()} thread(s)'
    return (
        f'{name}{threads}; torch {torch.__version__}, mmdet {mmdet.__version__}, '
        f'mmcv {mmcv.__version__}, Python {platform.python_version()}'
    )


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(argv)
    register_all_modules()
    MMLogger.get_current_instance().setLevel('WARNING')  # every parameter's initialisation
    if args.memory_of:
        print(json.dumps(measure_memory(args.memory_of, args)))
        return
    tables = {
        title: [name for name in compared if name in (args.models or compared)]
        for title, compared in (COMPARISONS[head] for head in args.heads)
    }
    names = list(dict.fromkeys(sum(tables.values(), [])))
    with tempfile.TemporaryDirectory() as folder:
        args.text = random_text(os.path.join(folder, 'text.npz'))
        memory = {}
        for name in names:
            memory[name] = memory_of(name, args)
            if memory[name]:
                print(f'{name}: {memory[name] / MIB:.0f} MiB', flush=True)
        seconds, flops = measure_steps(names, args)
    on_gpu = args.device.startswith('cuda')
    of_memory = 'max_memory_allocated' if on_gpu else 'growth of peak RSS'
    counted = len(seconds[names[0]])
    print(f'Machine: {machine(args.device)}')
    print(
        f'Setting: {args.batch_size} image(s) of {args.image_size}x{args.image_size} a step, '
        f'{args.rois} sampled and {args.regions} distillation RoIs an image, '
        f'{"mixed precision" if args.amp else "float32"}, '
        f'{f"compiled by {args.compile}" if args.compile else "not compiled"}; '
        f'{counted} rounds after {args.warm_up} of warm-up; time is '
        f'{"wall-clock" if on_gpu else "CPU"} time, memory is {of_memory}'
    )
    for title, compared in tables.items():
        print(
            f'\n### {title}\n\n{table(compared, seconds, flops, memory)}{aims(compared, seconds)}'
        )


if __name__ == '__main__':
    main()
