"""One training step and one test of every system, in every precision, against the CPU's.

    python tools/benchmarks/does_it_run.py --device cuda

Each is small, with random weights, words and teacher: what is looked for are devices and precisions
that do not fit. Prints a Markdown table, row by row: the loss, what the test found, and the mean of
its scores (of a map: of its labels; of embeddings: times a product of theirs), which are to be
close to those of the CPU in float32. An error in one system takes nothing from the others, also one
after which no more can be done on the device in this process, which begins anew with the next.
"""

import argparse
import copy
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mmdet_vild  # before anything imports mmcv's operators

# isort: split
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
from torch import nn

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

#: A config of every system, and what is done with it: a new one joins here.
TRAINED, TESTED, WORDS = 'trained and tested', 'tested', 'asked for other words'
SYSTEMS = (
    ('mini_lvis/mask-rcnn_lite0_fpn_mini-lvis.py', TRAINED),
    ('mini_lvis/vild-text_lite0_fpn_mini-lvis.py', TRAINED),
    ('mini_lvis/vild-image_lite0_fpn_mini-lvis.py', TRAINED),
    ('mini_lvis/vild_lite0_fpn_mini-lvis.py', TRAINED),
    ('mini_lvis/vild_lite0_fpn_mini-lvis.py', WORDS),
    ('mini_lvis/vild_text-guided_lite0_fpn_mini-lvis.py', TRAINED),
    ('mini_lvis/vild-ensemble_lite0_fpn_mini-lvis.py', TRAINED),
    ('mini_lvis/clip-on-crops_lite0_fpn_mini-lvis.py', TESTED),
    ('mini_lvis/region-embeddings_lite0_fpn_mini-lvis.py', TESTED),
    ('vild/vild-text-clip_r50_fpn_lvis-v1.py', TESTED),
    ('vild/vild-plus_r50_fpn_1x_ov-coco.py', TRAINED),
    ('vild/vild-plus-teacher_r50_fpn_1x_ov-coco.py', TESTED),
    ('ezsd/tune-teacher_vit-b-32_12e_ov-coco.py', TRAINED),
    ('ezsd/region-embeddings_clip-anchors_ov-coco.py', TESTED),
    ('ezsd/ezsd_r50_fpn_1x_ov-coco.py', TRAINED),
    ('gkc/segment-embeddings_rn50_coco-panoptic.py', TESTED),
    ('gkc/gkc_r50-clip_8xb14-50k_coco-panoptic.py', TRAINED),
    ('gkc/gkc_r50-clip_8xb14-50k_coco-panoptic.py', WORDS),
    ('gkc/gkc_r50-clip_8xb14-50k_ov-coco-instance.py', TRAINED),
    ('gkc/gkc-maskformer_r50_8xb14-50k_coco-panoptic.py', TRAINED),
    ('mini_lvis/clip-on-masks_lite0_mini-lvis.py', TESTED),
)
#: Their categories, the last one of which is novel.
NAMES = tuple('abcde')
#: In the configs that are not of the mini world, these are so many times smaller.
WIDTHS = (
    *('in_channels', 'out_channels', 'feat_channels', 'conv_out_channels', 'fc_out_channels'),
    *('embed_dims', 'feedforward_channels', 'num_feats'),
)
NARROWER = 4
#: What is further than this from the CPU's, relatively, is pointed out.
CLOSE = {'float32': 0.01, 'float16': 0.05, 'bfloat16': 0.1}
#: At least, where a loss is that of points that each device draws for itself (Mask2Former).
CLOSE_BY_CHANCE = 0.05


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
    # To random weights all regions look like one category, which may be a base one.
    fill(model, counts | files | {'drop_base': False})
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


def answer(samples: Sequence[DetDataSample]) -> tuple[int, float]:
    """How much was found, and one number of it that other precisions should have, too."""
    count, total = 0, []
    for sample in samples:
        if 'pred_instances' not in sample:
            labels = sample.pred_sem_seg.sem_seg.unique()
            count += len(labels)
            total.append(labels.float().cpu())
            continue
        found = sample.pred_instances
        count += len(found)
        numbers = found.get('scores', torch.ones(len(found))).float().cpu()
        if 'embeddings' in found:  # a product that is another for others
            rows = found.embeddings.float().cpu()
            numbers = numbers * (2 + rows @ torch.linspace(-1, 1, rows.shape[1]))
        total.append(numbers)
    return count, torch.cat(total).mean().item() if count else 0.0


def step(model: nn.Module, batch: dict, what: str, device: str, dtype: str) -> list[float]:
    """The loss, and the :func:`answer` of the test, of a copy of a model on a device."""
    model, loss = copy.deepcopy(model).to(device), 0.0
    torch.manual_seed(0)
    kind = torch.device(device).type
    with torch.autocast(kind, getattr(torch, dtype), enabled=dtype != 'float32'):
        if what == TRAINED:
            wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='SGD', lr=1e-4)))
            loss = model.train().train_step(copy.deepcopy(batch), wrapper)['loss'].item()
        tested = copy.deepcopy(batch)
        for sample in tested['data_samples']:
            if what == WORDS:
                sample.set_metainfo(dict(text=('cat', 'dog'), custom_entities=True))
            if isinstance(model, SegmentEmbeddingExtractor):  # as NumberSegments leaves them
                sample.gt_instances.labels = torch.arange(len(sample.gt_instances))
        with torch.no_grad():
            samples = model.eval().test_step(tested)
    return [loss, *answer(samples)]


def verdict(found: Sequence[float], expected: Sequence[float], close: float) -> str:
    """Whether loss and mean, the first and the last of three, are close; NaN is not.

    The mean is after a step, of a network that means nothing: it may be three times as far.
    """
    (loss, count, mean), (cpu_loss, cpu_count, cpu_mean) = found, expected
    alike = abs(loss - cpu_loss) <= close * abs(cpu_loss)
    alike = alike and abs(mean - cpu_mean) <= max(3 * close * abs(cpu_mean), close)
    return 'ok' if alike and bool(count) == bool(cpu_count) else 'DIFFERS'


def does_it_run(args: argparse.Namespace, folder: str) -> int | None:
    """Print the table from a system on.

    Returns:
        With which it is to go on in a new process, or None.
    """
    batch = mini_batch(args, folder)
    for number, (config, what) in enumerate(SYSTEMS[args.begin :], args.begin):
        name = f'{Path(config).parent}/{Path(config).stem.split("_")[0]}'
        name += ', own words' if what == WORDS else ''
        model, expected, lost = None, None, False
        for dtype, close in CLOSE.items():
            if args.tiny and dtype == 'float16':
                continue  # takes a CPU too long
            try:
                if expected is None:
                    model = mini(config, folder)
                    expected = step(model, batch, what, 'cpu', 'float32')
                    by_chance = hasattr(getattr(model, 'panoptic_head', None), 'num_points')
                found = step(model, batch, what, args.device, dtype)
                close = max(close, CLOSE_BY_CHANCE) if by_chance else close
                cells = [f'{x:.4g}' for pair in zip(found, expected, strict=True) for x in pair]
                said = verdict(found, expected, close)
            except Exception as error:  # the others are to be tried, too
                reason = str(error).splitlines()[0] if str(error) else ''
                cells = [''] * 6
                said = f'FAILED: {type(error).__name__}: {reason}'.replace('|', '/')
                lost = 'CUDA error' in str(error)  # nothing more works on this device
            print(f'| {" | ".join((name, dtype, *cells, said))} |', flush=True)
            if lost:
                return number + 1
    return None


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--tiny', action='store_true', help='smaller, for a CPU')
    parser.add_argument('--begin', type=int, default=0, help='the number of the first system')
    args = parser.parse_args(argv)
    register_all_modules()
    MMLogger.get_current_instance().setLevel('ERROR')
    # With TensorFloat-32, which is the default of convolutions, float32 would not be the CPU's.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if args.begin == 0:
        print(
            "| system | precision | loss | the CPU's, float32 | found | the CPU's | mean "
            "| the CPU's | |"
        )
        print('|---|---|---:|---:|---:|---:|---:|---:|---|', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        begin = does_it_run(args, folder)
    if begin is not None:
        given = ['--device', args.device, *(['--tiny'] if args.tiny else [])]
        again = [sys.executable, __file__, *given, '--begin', str(begin)]
        os.execv(sys.executable, again)


if __name__ == '__main__':
    main()
