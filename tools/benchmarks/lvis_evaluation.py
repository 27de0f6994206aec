"""Time and memory of evaluating LVIS's whole validation set, over mmdet's LVISMetric, in one run.

    python tools/benchmarks/lvis_evaluation.py

Makes up annotations of the size of LVIS v1 val (19,809 images, 1203 categories, 12 objects and 6
absent categories an image) and 300 detections an image, and gives them to both metrics as the test
loop does, each in a fresh process: batches of predictions first, then the figures. Whether the
figures are the same is checked. A process that needs more memory than the machine has free fails,
and the table says so. Prints Markdown.
"""

import argparse
import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.logging import MMLogger
from tqdm import tqdm
from train_step import machine, peak_memory

import mmdet_vild  # noqa: F401 - registers the metric

KINDS = ('LVISMetric', 'FastLVISMetric')
CATEGORIES, OBJECTS, ABSENT, DETECTIONS, SIZE = 1203, 12, 6, 300, (480, 640)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, default=19809)
    parser.add_argument('--masks', action='store_true', help='evaluate masks too')
    # A subprocess that measures one of both on an annotation file.
    parser.add_argument('--measure', choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument('--ann-file', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.images < 1:
        parser.error('--images must be 1 or more')
    if args.measure:
        limit = limit_memory()
        try:
            print(json.dumps(measure(args)))
        except MemoryError:
            print(json.dumps(dict(limit=limit)))
        return
    with tempfile.TemporaryDirectory() as folder:
        args.ann_file = str(Path(folder) / 'lvis.json')
        Path(args.ann_file).write_text(json.dumps(annotations(args.images)))
        found = {kind: in_subprocess(kind, args) for kind in KINDS}
    print(report(args, found))


def annotations(images: int) -> dict:
    """An LVIS annotation file of random boxes."""
    rng = np.random.default_rng(0)
    height, width = SIZE
    content = dict(images=[], annotations=[])
    for image in range(1, images + 1):
        categories = rng.permutation(CATEGORIES)[: OBJECTS // 2 + ABSENT] + 1
        content['images'].append(
            dict(
                id=image,
                coco_url=f'val2017/{image}.jpg',
                height=height,
                width=width,
                neg_category_ids=categories[OBJECTS // 2 :].tolist(),
                not_exhaustive_category_ids=categories[:1].tolist(),
            )
        )
        corners = rng.uniform(0, 300, (OBJECTS, 2))
        sides = rng.uniform(8, 170, (OBJECTS, 2))
        for (x, y), (w, h), which in zip(
            corners.tolist(), sides.tolist(), rng.integers(OBJECTS // 2, size=OBJECTS), strict=True
        ):
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=image,
                    category_id=int(categories[which]),
                    bbox=[x, y, w, h],
                    area=w * h,
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                )
            )
    content['categories'] = [
        dict(id=i, name=f'category {i}', synonyms=[], frequency='fcr'[i % 3], image_count=1,
             instance_count=1)
        for i in range(1, CATEGORIES + 1)
    ]  # fmt: skip
    return content


def prediction(image: dict, objects: list[dict], masks: bool) -> dict:
    """A sample as the test loop gives it: the objects nearly right, and other detections."""
    rng = np.random.default_rng(image['id'])
    boxes = np.array([a['bbox'] for a in objects]).reshape(-1, 4)
    boxes = boxes + rng.normal(0, 4, boxes.shape)
    labels = np.array([a['category_id'] - 1 for a in objects], int)
    more = DETECTIONS - len(boxes)
    others = np.concatenate([rng.uniform(0, 300, (more, 2)), rng.uniform(8, 170, (more, 2))], 1)
    boxes = np.concatenate([boxes, others]).clip(1)
    boxes[:, 2:] += boxes[:, :2]
    instances = dict(
        bboxes=torch.tensor(boxes, dtype=torch.float32),
        scores=torch.tensor(rng.uniform(size=DETECTIONS), dtype=torch.float32),
        labels=torch.tensor(np.concatenate([labels, rng.integers(0, CATEGORIES, more)])),
    )
    if masks:
        instances['masks'] = torch.zeros(DETECTIONS, *SIZE, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(instances['masks'], boxes.astype(int), strict=True):
            mask[y1:y2, x1:x2] = True
    return dict(img_id=image['id'], ori_shape=SIZE, pred_instances=instances)


def limit_memory() -> int:
    """Have this process fail rather than others, with all but a GB of what is free; the bytes."""
    with open('/proc/meminfo') as file:
        free = {line.split(':')[0]: int(line.split()[1]) * 1024 for line in file}['MemAvailable']
    limit = free - 10**9
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return limit


def measure(args: argparse.Namespace) -> dict:
    """Seconds for the batches and for the figures, the peak memory in bytes, and the figures."""
    MMLogger.get_current_instance().setLevel('WARNING')
    metric = METRICS.build(
        dict(
            type=args.measure,
            ann_file=args.ann_file,
            metric=['bbox', 'segm'] if args.masks else ['bbox'],
        )
    )
    metric.dataset_meta = dict(classes=[f'category {i}' for i in range(CATEGORIES)])
    api = metric._lvis_api
    batches = 0.0
    for image in tqdm(api.imgs.values(), desc=args.measure, file=sys.stderr):
        sample = prediction(image, api.img_ann_map[image['id']], args.masks)
        start = time.process_time()
        metric.process({}, [sample])
        batches += time.process_time() - start
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):  # lvis prints its table
        figures = metric.evaluate(len(api.imgs))
    end = time.process_time() - start
    return dict(batches=batches, end=end, memory=peak_memory('cpu'), figures=figures)


def in_subprocess(kind: str, args: argparse.Namespace) -> dict:
    """:func:`measure` in a fresh process."""
    command = [sys.executable, __file__, '--measure', kind, '--ann-file', args.ann_file]
    command += ['--masks'] if args.masks else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f'measuring {kind} failed with status {done.returncode}; see above')
    return json.loads(done.stdout.splitlines()[-1])


def report(args: argparse.Namespace, found: dict[str, dict]) -> str:
    """The Markdown table."""
    stock, fast = (found[kind] for kind in KINDS)
    lines = [
        f'{args.images} images x {DETECTIONS} detections, boxes{" and masks" * args.masks}; '
        f'{machine("cpu")}; CPU time:',
        '',
        '| metric | batches (s) | figures (s) | peak memory (GB) | time ratio | memory ratio |',
        '|---|---:|---:|---:|---:|---:|',
    ]
    for kind, values in found.items():
        if 'limit' in values:
            lines.append(f'| {kind} | | | more than {values["limit"] / 1e9:.1f} | | |')
            continue
        line = f'| {kind} | {values["batches"]:.0f} | {values["end"]:.0f} '
        line += f'| {values["memory"] / 1e9:.1f} '
        if 'limit' in stock:
            lines.append(f'{line}| | at most {values["memory"] / stock["limit"]:.3f} |')
        else:
            total = (values['batches'] + values['end']) / (stock['batches'] + stock['end'])
            lines.append(f'{line}| {total:.3f} | {values["memory"] / stock["memory"]:.3f} |')
    if 'limit' not in stock and 'limit' not in fast:
        same = 'the same' if stock['figures'] == fast['figures'] else 'DIFFERENT'
        lines += ['', f'The figures are {same}: {json.dumps(fast["figures"])}']
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
