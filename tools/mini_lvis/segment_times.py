"""Times segmentors on pictures of the mini world, turn by turn in one run.

    python tools/mini_lvis/segment_times.py data/mini_lvis --out times.json \\
        "plain=work_dirs/mini_lvis/gkc-plain/gkc-plain_lite0_mini-lvis.py,CHECKPOINT" ...

Milliseconds are medians of single test pictures, from a loaded picture to the map, on one core. The
first picture warms up.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from mmcv.transforms import Compose
from mmdet.utils import get_test_pipeline_cfg
from mmengine.dataset import pseudo_collate

from mmdet_vild import load_detector


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data', type=Path, help="the world's folder")
    parser.add_argument('models', nargs='+', metavar='NAME=CONFIG,CHECKPOINT')
    parser.add_argument('--out', type=Path, required=True, help='a JSON of NAME: milliseconds')
    parser.add_argument('--images', type=int, default=40)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    stems = (args.data / 'gkc' / 'test.txt').read_text().split()[: args.images + 1]
    models, times = {}, {}
    for each in args.models:
        name, files = each.split('=', 1)
        model = load_detector(*files.split(','), 'cpu')
        models[name] = model, Compose(get_test_pipeline_cfg(model.cfg))
        times[name] = []
    for number, stem in enumerate(stems):
        path = str(args.data / 'val2017' / f'{stem}.jpg')
        for name, (model, pipeline) in models.items():
            batch = pseudo_collate([pipeline(dict(img_path=path, img_id=number))])
            start = time.perf_counter()
            with torch.no_grad():
                model.test_step(batch)
            if number or len(stems) == 1:
                times[name].append(time.perf_counter() - start)
    medians = {name: round(1000 * statistics.median(each), 1) for name, each in times.items()}
    args.out.write_text(json.dumps(medians, indent=2) + '\n')
    for name, milliseconds in medians.items():
        print(f'{name}: {milliseconds} ms')


if __name__ == '__main__':
    main()
