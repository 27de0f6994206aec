"""Crops a second of a whole extraction: decoding, proposals, teacher and the store's writes.

    python tools/benchmarks/extraction.py --device cuda --workers 16 --autocast float16
    python tools/benchmarks/extraction.py --device cuda --workers 16 --autocast float16 \\
        --proposer anchors --images 12 --batch-size 2

MMEngine's runner tests a ``RegionEmbeddingExtractor`` with random weights on random JPEG pictures,
as MMDetection's test tool would: images come from loader processes, the RPN proposes, the teacher
embeds, the store is written. Once as an extraction is, where a batch is written and the next one
proposed while the teacher works, and once batch by batch. With ``--proposer anchors`` it is EZSD's,
in which the teacher proposes, batch by batch. Wall-clock time, from the end of the first batches to
that of the store; of crops, those that the teacher saw in it. Prints Markdown.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from teacher import make_images
from timing import synchronize
from train_step import machine, random_text

import mmdet_vild
from mmdet_vild.teacher import OpenCLIPTeacher

CONFIGS = {
    'rpn': 'vild/region-embeddings_r50_fpn_ov-coco.py',
    'anchors': 'ezsd/region-embeddings_clip-anchors_ov-coco.py',
}
#: Batches that do not count.
WARM_UP = 2
NAMES = ('cat', 'dog', 'zebra')


class Clock(Hook):
    """Times a test; ``ahead`` is whether the teacher works while the host does."""

    priority = 'VERY_LOW'

    def __init__(self, ahead: bool, device: str) -> None:
        self.ahead, self.device = ahead, device
        self.begun = self.ended = 0.0
        self.encoded = 0

    def before_test(self, runner: Runner) -> None:
        """After ``EmbeddingStoreHook``, which switches it on."""
        runner.model.ahead = self.ahead

    def after_test_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        """The first batches are done, on the device, too."""
        if batch_idx == WARM_UP - 1:
            synchronize(self.device)
            self.begun = time.perf_counter()
            self.encoded = runner.model.teacher.encoded

    def after_test_epoch(self, runner: Runner, *args, **kwargs) -> None:
        """The store is complete."""
        self.ended = time.perf_counter()
        self.encoded = runner.model.teacher.encoded - self.encoded


def make_data(args: argparse.Namespace, folder: Path) -> None:
    """Pictures, annotations without objects, and random words."""
    (folder / 'images').mkdir()
    images = []
    for i, (picture, _) in enumerate(make_images(args.images, 1)):
        name = f'{i}.jpg'
        picture = cv2.resize(picture, (args.width, args.height))
        cv2.imwrite(str(folder / 'images' / name), picture)
        images.append(dict(id=i, file_name=name, width=args.width, height=args.height))
    categories = [dict(id=i, name=name) for i, name in enumerate(NAMES)]
    content = dict(images=images, annotations=[], categories=categories)
    (folder / 'train.json').write_text(json.dumps(content))
    words = str(folder / 'text.npz')
    if args.proposer == 'rpn':
        random_text(words, len(NAMES))
        return
    # Its words must be those of the teacher.
    teacher = OpenCLIPTeacher(args.model, args.pretrained)
    if args.pretrained is None:
        args.pretrained = str(folder / 'teacher.pt')
        torch.save(teacher.model.state_dict(), args.pretrained)
    random_text(words, len(NAMES), teacher.embed_dims, teacher.identity, novel=1)


def config_of(args: argparse.Namespace, folder: Path, name: str) -> Config:
    """An extraction from the pictures in a folder to a store of this name in it."""
    config = Config.fromfile(mmdet_vild.config_path(CONFIGS[args.proposer]))
    config.work_dir = str(folder / 'work_dirs')
    config.log_level = 'ERROR'
    config.custom_hooks = [dict(type='EmbeddingStoreHook')]
    model = config.model
    if args.proposer == 'rpn':
        model.backbone.init_cfg = None
        model.test_cfg.rpn.max_per_img = args.regions
        model.roi_head.bbox_head.num_classes = model.roi_head.mask_head.num_classes = len(NAMES)
        words = model.roi_head.bbox_head.cls_predictor_cfg
        words.novel_categories = None
    else:
        words = model.proposers[-1]
        # Random weights call all regions alike, which dropping those of base ones may not spare.
        words.update(num_kept=args.regions, drop_base=False)
    words.text_embeddings = str(folder / 'text.npz')
    model.teacher.update(
        model_name=args.model,
        pretrained=args.pretrained,
        batch_size=args.crops,
        autocast=args.autocast,
    )
    pipeline = config.test_dataloader.dataset.pipeline
    next(t for t in pipeline if t.type == 'Resize').scale = tuple(args.scale)
    config.test_dataloader.update(
        batch_size=args.batch_size,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
    )
    config.test_dataloader.dataset = dict(
        type='OpenVocabularyCocoDataset',
        data_root=f'{folder}/',
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=NAMES, novel_classes=NAMES[-1:]),
        test_mode=True,
        pipeline=pipeline,
    )
    config.test_evaluator.update(path=str(folder / name), ann_file=str(folder / 'train.json'))
    return config


def prepare(args: argparse.Namespace, folder: Path, ahead: bool) -> tuple[Runner, Clock]:
    """A runner that is to test, and what will have timed it."""
    clock = Clock(ahead, args.device)
    runner = Runner.from_cfg(config_of(args, folder, f'store_{ahead}'))
    runner.register_hook(clock)
    return runner, clock


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='ViT-B-32-quickgelu')
    parser.add_argument('--pretrained', help='default: random weights, which cost the same time')
    parser.add_argument('--device', default=get_device(), help="MMEngine's own choice")
    parser.add_argument('--autocast', choices=['float16', 'bfloat16'])
    parser.add_argument('--proposer', choices=CONFIGS, default='rpn')
    parser.add_argument('--crops', type=int, default=1024, help='a batch of the teacher')
    parser.add_argument('--images', type=int, default=96)
    parser.add_argument('--batch-size', type=int, default=8, help='images a batch')
    parser.add_argument('--regions', type=int, default=300, help='at most, of an image')
    parser.add_argument('--workers', type=int, default=16, help='loader processes')
    parser.add_argument('--height', type=int, default=480)
    parser.add_argument('--width', type=int, default=640)
    parser.add_argument('--scale', type=int, nargs=2, default=(1333, 800), help='for the RPN')
    args = parser.parse_args(argv)
    if args.device.split(':')[0] != get_device():
        parser.error(
            f'MMEngine computes on {get_device()} here, not on {args.device}; '
            'CUDA_VISIBLE_DEVICES= in front of the command hides a GPU from it'
        )
    if args.images <= WARM_UP * args.batch_size or min(args.batch_size, args.regions) < 1:
        parser.error(f'--images must be more than {WARM_UP} batches, and sizes positive')
    return args


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(argv)
    register_all_modules()
    MMLogger.get_current_instance().setLevel('ERROR')  # that weights are random
    network = f'the RPN of a ResNet-50; at most {args.regions} regions an image'
    if args.proposer == 'anchors':
        network = f'the anchors in which the teacher looks for {args.regions} regions an image'
    print(f'Machine: {machine(args.device)}')
    print(
        f'Setting: {args.model}, autocast {args.autocast}, {args.crops} crops a batch; JPEG images '
        f'of {args.width} x {args.height} from {args.workers} loader processes, '
        f'{args.batch_size} a batch, resized to {args.scale[0]} x {args.scale[1]} for {network}; '
        'wall-clock time\n'
    )
    print('| | crops/s | images/s |\n|---|---:|---:|', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        make_data(args, Path(folder))
        for ahead, said in ((True, 'a batch ahead'), (False, 'batch by batch')):
            if ahead and args.proposer == 'anchors':
                continue  # what the teacher saw decides what it sees next
            with redirect_stdout(sys.stderr):  # pycocotools prints
                runner, clock = prepare(args, Path(folder), ahead)
                runner.test()
            seconds = clock.ended - clock.begun
            images = (args.images - WARM_UP * args.batch_size) / seconds
            print(f'| {said} | {clock.encoded / seconds:.0f} | {images:.1f} |', flush=True)
    if not torch.cuda.is_available():
        print('\nOn a CPU nothing is computed ahead: the two are the same.')


if __name__ == '__main__':
    main()
