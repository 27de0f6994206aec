"""Crops a second of the teacher, against the way of peers and against its own ceiling.

    python tools/benchmarks/teacher.py --device cuda --autocast float16 --batch-size 1024

Embeds the same random regions of the same random images in two ways: with ``OpenCLIPTeacher``, and
as peers do it (each crop by itself with Pillow and open_clip's transform, a batch of one image's
crops). The ceiling is the teacher's forward pass alone, on a batch of ready tensors. Of peers, who
are slow, some 400 crops are enough, which are of all images; the others run on all. In every round
each way runs once, so that a change in the machine's speed meets all of them; figures are medians
over the rounds, the ratios too, which are taken round by round. Prints Markdown, and how far the
embeddings of both ways agree. It measures crops and embeddings alone: an extraction also decodes
images, finds proposals and writes records.
"""

import argparse
import platform
import statistics
import time

import cv2
import numpy as np
import open_clip
import torch
from PIL import Image
from timing import ratio, rounds, timed
from torch import Tensor

from mmdet_vild.teacher import CROP_SCALES, OpenCLIPTeacher, crop_windows

LVIS_TRAIN_IMAGES, LVIS_CROPS = 100_170, 600
HEIGHT, WIDTH = 480, 640
#: Peers are slow, and are measured on at most about so many crops.
PEER_CROPS = 400
#: Aims: how much faster than peers preprocessing is, how much of the ceiling is reached, and of
#: ViT-B/32 how many crops a second.
PREPROCESSING, PART, RATE = 10, 0.8, 20_000


class Peers:
    """Crop by crop."""

    def __init__(self, teacher: OpenCLIPTeacher) -> None:
        self.teacher = teacher
        self.transform = open_clip.image_transform(teacher.input_size, is_train=False)

    def preprocess(self, image: np.ndarray, boxes: Tensor) -> Tensor:
        """(2 n, 3, h, w) crops of an image."""
        pillow = Image.fromarray(image[..., ::-1])
        cut = windows(image, boxes).tolist()
        return torch.stack([self.transform(pillow.crop(window)) for window in cut])

    @torch.no_grad()
    def embed(self, image: np.ndarray, boxes: Tensor) -> Tensor:
        """(n, D) embeddings of regions."""
        crops = self.preprocess(image, boxes).to(self.teacher.device)
        found = self.teacher.encode_images(crops)
        return torch.nn.functional.normalize(found.view(2, len(boxes), -1).sum(0), dim=1).cpu()


def windows(image: np.ndarray, boxes: Tensor) -> Tensor:
    """The windows of an image's regions at every scale."""
    return torch.cat([crop_windows(boxes, scale, image.shape[:2]) for scale in CROP_SCALES])


def make_images(count: int, regions: int) -> list[tuple[np.ndarray, Tensor]]:
    """Random pictures with random boxes, of 0.1 % to 60 % of the picture."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        area = np.exp(rng.uniform(np.log(0.001), np.log(0.6), regions))
        ratio = np.exp(rng.uniform(-0.7, 0.7, regions))
        size = np.stack([WIDTH * np.sqrt(area * ratio), HEIGHT * np.sqrt(area / ratio)], axis=1)
        size = np.minimum(size, (WIDTH, HEIGHT))
        start = rng.uniform(0, 1, (regions, 2)) * ((WIDTH, HEIGHT) - size)
        boxes = np.concatenate([start, start + size], axis=1).astype(np.float32)
        made.append((image, torch.from_numpy(boxes)))
    return made


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', default='ViT-B-32-quickgelu')
    parser.add_argument('--pretrained', help='default: random weights, which cost the same time')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--autocast', choices=['float16', 'bfloat16'])
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--images', type=int, default=8)
    parser.add_argument('--images-at-once', type=int, default=4)
    parser.add_argument('--regions', type=int, default=300)
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args(argv)
    numbers = ('batch_size', 'images', 'images_at_once', 'regions', 'rounds')
    if min(getattr(args, name) for name in numbers) < 1:
        parser.error('the sizes must be positive')
    teacher = OpenCLIPTeacher(
        args.model,
        args.pretrained,
        None,
        args.device,
        args.batch_size,
        'centre_crop',
        args.autocast,
    )
    peers = Peers(teacher)
    data = make_images(args.images, args.regions)
    some = -(-min(PEER_CROPS // len(CROP_SCALES), args.images * args.regions) // args.images)
    few = [(image, boxes[:some]) for image, boxes in data]
    groups = [data[i : i + args.images_at_once] for i in range(0, args.images, args.images_at_once)]
    ready = torch.randn(args.batch_size, 3, *teacher.input_size, device=teacher.device)
    batches = max(args.images * args.regions * len(CROP_SCALES) // args.batch_size, 1)
    ways = {
        'peers, preprocessing': lambda: [peers.preprocess(*pair) for pair in few],
        'ours, preprocessing': lambda: [
            teacher.crops(image, windows(image, boxes)) for image, boxes in data
        ],
        'peers, end to end': lambda: [peers.embed(*pair) for pair in few],
        'ours, end to end': lambda: [
            teacher.encode_regions(*map(list, zip(*group, strict=True))) for group in groups
        ],
        'ceiling': lambda: [teacher.encode_images(ready) for _ in range(batches)],
    }
    times = {name: [] for name in ways}
    for round_ in rounds(args.rounds, 1):
        for name, run in ways.items():
            # Wall-clock time: of more threads than one, CPU time is not what an extraction takes.
            taken, _ = timed(run, teacher.device, time.perf_counter)
            if round_ >= 0:
                times[name].append(taken)
    crops = dict.fromkeys(ways, args.images * args.regions * len(CROP_SCALES))
    for name in ('peers, preprocessing', 'peers, end to end'):
        crops[name] = args.images * some * len(CROP_SCALES)
    crops['ceiling'] = batches * args.batch_size
    rates = {name: [crops[name] / taken for taken in times[name]] for name in ways}
    cosines = torch.cat(
        [torch.cosine_similarity(peers.embed(*p), teacher.encode_crops(*p)) for p in few]
    )
    print(report(args, teacher, rates, cosines))


def met(aim: bool) -> str:
    """In a word."""
    return 'met' if aim else 'missed'


def report(args: argparse.Namespace, teacher: OpenCLIPTeacher, rates: dict, cosines: Tensor) -> str:
    """The Markdown table, and what follows from it."""
    device = teacher.device
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else platform.processor()
    preprocessing = ratio(rates['ours, preprocessing'], rates['peers, preprocessing'])
    end_to_end = ratio(rates['ours, end to end'], rates['peers, end to end'])
    part = ratio(rates['ours, end to end'], rates['ceiling'])
    rates = {name: statistics.median(values) for name, values in rates.items()}
    rate = ''
    if args.model.startswith('ViT-B-32'):
        rate = f'{RATE} crops/s ({met(rates["ours, end to end"] >= RATE)}), '
    hours = LVIS_TRAIN_IMAGES * LVIS_CROPS / rates['ours, end to end'] / 3600
    return '\n'.join(
        [
            f'{args.model} on {name or device.type}, {torch.get_num_threads()} threads, autocast '
            f'{args.autocast}, batches of {args.batch_size}; {args.images} images of {WIDTH} x '
            f'{HEIGHT}, {args.regions} regions each; torch {torch.__version__}:',
            '',
            '| | peers, crops/s | ours, crops/s | ratio |',
            '|---|---:|---:|---:|',
            f'| preprocessing alone | {rates["peers, preprocessing"]:.0f} | '
            f'{rates["ours, preprocessing"]:.0f} | {preprocessing:.1f} |',
            f'| end to end | {rates["peers, end to end"]:.0f} | {rates["ours, end to end"]:.0f} | '
            f'{end_to_end:.1f} |',
            '',
            f"The teacher's forward pass alone: {rates['ceiling']:.0f} crops/s, of which we reach "
            f'{100 * part:.0f} %. The crops of LVIS train ({LVIS_TRAIN_IMAGES} images with '
            f'{LVIS_CROPS} each) would take {hours:.1f} hours to cut out and embed; decoding, '
            f'proposals and the store come on top. Cosine of both ways: {cosines.mean():.5f} on '
            f'average, {cosines.min():.5f} at worst.',
            '',
            f'Aims: preprocessing {PREPROCESSING}x ({met(preprocessing >= PREPROCESSING)}), {rate}'
            f'{100 * PART:.0f} % of the ceiling ({met(part >= PART)}), the crops of LVIS train '
            f'within an hour ({met(hours <= 1)}), cosines of 0.999 and 0.99 '
            f'({met(bool(cosines.mean() >= 0.999 and cosines.min() >= 0.99))}).',
        ]
    )


if __name__ == '__main__':
    main()
