"""Every method over several seeds, and the tables of docs/mini_lvis.md.

    python tools/mini_lvis/demo_full.py

Each seed is a world of its own: other pictures, another teacher, other trainings. Methods are
tested on the test split; the settings in the configs were chosen on val. Figures of the default
categories go to docs/results/ seed by seed, and the tables are of all that are there. Run it again
after an interruption, or after the demo: it goes on from there.
"""

import argparse
from pathlib import Path

import demo
import pipeline
import report
from publish import publish

SEEDS = [0, 1, 2]
BEGIN = '<!-- results: written by tools/mini_lvis/demo_full.py -->'


def main() -> None:
    """Parse the command line, run every seed, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seeds', type=pipeline.seed, nargs='+', default=SEEDS)
    parser.add_argument('--categories', type=pipeline.category_file)
    parser.add_argument('--data', type=Path, default=Path('data'))
    parser.add_argument('--work', type=Path, default=Path('work_dirs'))
    args = parser.parse_args()

    for seed in args.seeds:
        name = pipeline.world_name(seed, args.categories)
        world = pipeline.World(seed, args.categories, args.data / name, args.work / name)
        print(f'\n=== seed {seed}', flush=True)
        rows = run(world)
        report.save(rows, world.work / 'results_full.json')
        print(f'\n{report.demo_table(rows)}', flush=True)
        if args.categories is None:
            publish('mini_lvis.md', BEGIN, 'mini_lvis', seed, rows, report.full_tables)


def run(world: pipeline.World) -> dict[str, dict]:
    """Train and test every method in one world.

    Returns:
        What :func:`report.evaluate_method` says of each on the test split.
    """
    tested = demo.run(world)
    for title, method in pipeline.TRAINED.items():
        if title not in tested:
            alone = world.fork()  # so that another method need not be repeated with it
            alone.train(method)
            tested[title] = alone.test(method)
    order = [*pipeline.TRAINED, pipeline.CLIP_ON_CROPS]
    return {title: report.evaluate_method(world.data, tested[title]) for title in order}


if __name__ == '__main__':
    main()
