"""What stored embeddings cost a training's data loading, as a ratio in one run.

    python tools/benchmarks/data_time.py --images 100 --rounds 10

Makes pictures with annotations in LVIS's format and a store of 300 regions, 512 wide, for them, and
loads them through the training pipeline of ``vild_r50_fpn_20e_lvis-v1.py``, with and without
``CLIPCropEmbedding``. In every round each pipeline loads every image once, with the same random
choices, in turns of one image, so that a change in the machine's speed meets both. Time is CPU
time, of one image from the annotation to the packed sample; a round's ratio is the median over the
images. Beside it is the wall-clock time of an epoch of the config's own dataloader, its workers and
the transfer from them included. Ratios are medians over the rounds, with the quartiles in brackets:
where the aim lies between these, the rounds do not tell. Prints Markdown.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from tqdm import tqdm
from train_step import machine

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore, dataset_fingerprint

CONFIG = Path(__file__).parents[2] / 'configs' / 'vild' / 'vild_r50_fpn_20e_lvis-v1.py'
HEIGHT, WIDTH, OBJECTS = 480, 640, 12
WITHOUT, WITH = 'without CLIPCropEmbedding', 'with CLIPCropEmbedding'
MOST = 1.05


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, default=100)
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--regions', type=int, default=300)
    parser.add_argument('--width', type=int, default=512)
    args = parser.parse_args(argv)
    if min(vars(args).values()) < 1:
        parser.error('the sizes must be positive')
    register_all_modules()
    cv2.setNumThreads(0)  # as MMDetection's configs set it for training
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        make_data(Path(root), args)
        loaders = {name: loader_config(Path(root), name) for name in (WITHOUT, WITH)}
        datasets = {name: DATASETS.build(config.dataset) for name, config in loaders.items()}
        times = samples(datasets, args.rounds)
        epochs = whole_epochs(loaders, args.rounds)
    print(report(args, times, epochs))


def make_data(root: Path, args: argparse.Namespace) -> None:
    """Pictures as large as COCO's, ``OBJECTS`` polygons each, and the store."""
    rng = np.random.default_rng(0)
    (root / 'annotations').mkdir()
    (root / 'train').mkdir()
    images, annotations, boxes_of = [], [], {}
    for img_id in range(1, args.images + 1):
        coarse = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / 'train' / f'{img_id}.jpg'), picture)
        images.append(
            dict(
                id=img_id,
                coco_url=f'train/{img_id}.jpg',
                height=HEIGHT,
                width=WIDTH,
                neg_category_ids=[],
                not_exhaustive_category_ids=[],
            )
        )
        boxes_of[img_id] = random_boxes(rng, OBJECTS + args.regions)
        for x1, y1, x2, y2 in boxes_of[img_id][:OBJECTS].tolist():
            angles = np.linspace(0, 2 * np.pi, 30, endpoint=False)
            across, down = (x2 - x1) / 2, (y2 - y1) / 2
            x, y = x1 + across * (1 + np.cos(angles)), y1 + down * (1 + np.sin(angles))
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=img_id,
                    category_id=int(rng.integers(1, 1203)),  # not the novel one
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    segmentation=[np.stack([x, y], axis=1).ravel().tolist()],
                )
            )
    categories = [
        dict(id=i, name=f'word {i}', synonyms=[f'word {i}'], frequency='f' if i < 1203 else 'r')
        for i in range(1, 1204)
    ]
    ann_file = root / 'annotations' / 'train.json'
    content = dict(images=images, annotations=annotations, categories=categories)
    ann_file.write_text(json.dumps(content))
    source = dict(teacher='random@0', embed_dims=args.width)
    shard = EmbeddingStore.create(root / 'regions', source, dataset_fingerprint(ann_file))
    for img_id, boxes in tqdm(boxes_of.items(), desc='store'):
        embeddings = rng.standard_normal((args.regions, args.width), dtype=np.float32)
        scores = rng.random(args.regions, dtype=np.float32)
        record = EmbeddingRecord(boxes[OBJECTS:], scores, embeddings)
        shard.write([(img_id, record, (HEIGHT, WIDTH))])
    shard.close()


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """(n, 4) float32 boxes inside the picture."""
    size = rng.uniform(20, 300, (count, 2))
    start = rng.uniform(0, 1, (count, 2)) * ((WIDTH, HEIGHT) - size)
    return np.concatenate([start, start + size], axis=1).astype(np.float32)


def loader_config(root: Path, name: str) -> Config:
    """The training dataloader of the config, on these data."""
    config = Config.fromfile(CONFIG).train_dataloader
    dataset = config.dataset
    dataset.data_root, dataset.ann_file = f'{root}/', 'annotations/train.json'
    dataset.metainfo = dict(classes=tuple(f'word {i}' for i in range(1, 1204)))
    (transform,) = (t for t in dataset.pipeline if t.type == 'CLIPCropEmbedding')
    transform.store.path = str(root / 'regions')
    if name == WITHOUT:
        dataset.pipeline = [t for t in dataset.pipeline if t is not transform]
        dataset.pipeline[-1].type = 'PackDetInputs'
    return config


def samples(datasets: dict[str, BaseDataset], rounds: int) -> dict[str, list[list[float]]]:
    """CPU seconds of each image in each round; the first round, which warms up, not counted."""
    times = {name: [[] for _ in range(rounds + 1)] for name in datasets}
    for round_ in tqdm(range(rounds + 1), desc='samples'):
        for index in range(len(datasets[WITH])):
            names = list(datasets) if (round_ + index) % 2 else list(datasets)[::-1]
            for name in names:
                random.seed(index + round_)
                np.random.seed(index + round_)
                start = time.process_time()
                sample = datasets[name][index]
                times[name][round_].append(time.process_time() - start)
                if ('distill_instances' in sample['data_samples']) != (name == WITH):
                    raise RuntimeError(f'the pipeline {name} is not what its name says')
    return {name: rounds_[1:] for name, rounds_ in times.items()}


def whole_epochs(loaders: dict[str, Config], rounds: int) -> dict[str, list[float]]:
    """Wall-clock seconds of each epoch; the first one, which starts the workers, not counted."""
    built = {name: Runner.build_dataloader(config, seed=0) for name, config in loaders.items()}
    times = {name: [] for name in built}
    for round_ in tqdm(range(rounds + 1), desc='epochs'):
        for name in list(built) if round_ % 2 else list(built)[::-1]:
            loader = built[name]
            start = time.perf_counter()
            for _ in loader:
                pass
            if round_:
                times[name].append(time.perf_counter() - start)
    return times


def report(args: argparse.Namespace, times: dict, epochs: dict) -> str:
    """The Markdown table, and whether the aim is met."""
    by_round = [
        statistics.median(a / b for a, b in zip(*pair, strict=True))
        for pair in zip(times[WITH], times[WITHOUT], strict=True)
    ]
    epoch_ratios = [a / b for a, b in zip(epochs[WITH], epochs[WITHOUT], strict=True)]
    lines = [
        f'{args.images} images of {WIDTH} x {HEIGHT}, {args.regions} regions, {args.width} wide; '
        f'{args.rounds} rounds; {machine("cpu")}:',
        '',
        '| | CPU time of a sample (ms) | ratio | epoch of the dataloader (ms an image) | ratio |',
        '|---|---:|---:|---:|---:|',
    ]
    for name in (WITHOUT, WITH):
        sample = 1000 * statistics.median(map(statistics.median, times[name]))
        epoch = 1000 * statistics.median(epochs[name]) / args.images
        ratios = ('1', '1') if name == WITHOUT else (spread(by_round), spread(epoch_ratios))
        lines.append(f'| {name} | {sample:.2f} | {ratios[0]} | {epoch:.2f} | {ratios[1]} |')
    aims = f'sample: {verdict(by_round)}; epoch: {verdict(epoch_ratios)}'
    return '\n'.join([*lines, '', f'Aim: at most {MOST:.2f}. {aims}.'])


def quartiles(ratios: list[float]) -> tuple[float, float, float]:
    """The lower one, the median and the upper one."""
    lower, median, upper = np.percentile(ratios, (25, 50, 75)).tolist()
    return lower, median, upper


def spread(ratios: list[float]) -> str:
    """The median and, in brackets, the quartiles."""
    lower, median, upper = quartiles(ratios)
    return f'{median:.3f} ({lower:.3f} to {upper:.3f})'


def verdict(ratios: list[float]) -> str:
    """Whether the aim is met, as far as the rounds tell."""
    lower, _, upper = quartiles(ratios)
    if lower <= MOST < upper:
        return 'within the noise'
    return 'met' if upper <= MOST else 'missed'


if __name__ == '__main__':
    main()
