"""Every row of GKC's ablation over several seeds, and the tables of docs/gkc.md.

    python tools/mini_lvis/demo_gkc_full.py

Rows are tested on the test split and on unseen designs; the settings in the configs were chosen on
val. Run it again after an interruption, or after the demos: it goes on from there.
"""

import argparse
from pathlib import Path

import demo_full
import demo_gkc
import pipeline
import report
import segment_report
from publish import publish
from segment_pipeline import TRAINED, SegmentWorld

BEGIN = '<!-- results: written by tools/mini_lvis/demo_gkc_full.py -->'


def main() -> None:
    """Parse the command line, run every seed, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seeds', type=pipeline.seed, nargs='+', default=demo_full.SEEDS)
    parser.add_argument('--categories', type=pipeline.category_file)
    parser.add_argument('--data', type=Path, default=Path('data'))
    parser.add_argument('--work', type=Path, default=Path('work_dirs'))
    args = parser.parse_args()

    for seed in args.seeds:
        name = pipeline.world_name(seed, args.categories)
        world = SegmentWorld(seed, args.categories, args.data / name, args.work / name)
        print(f'\n=== seed {seed}', flush=True)
        rows, milliseconds = demo_gkc.run(world, tuple(TRAINED))
        report.save(rows, world.work / 'results_gkc_full.json')
        print(f'\n{segment_report.demo_table(rows, milliseconds)}', flush=True)
        if args.categories is None:
            found = dict(rows=rows, times=milliseconds)
            publish('gkc.md', BEGIN, 'gkc', seed, found, segment_report.full_tables)


if __name__ == '__main__':
    main()
