"""Every method over several seeds, and the tables of docs/mini_lvis.md.

    python tools/mini_lvis/demo_full.py

Each seed is a world of its own: other pictures, another teacher, other trainings. Methods are
tested on the test split; the settings in the configs were chosen on val. Run it again after an
interruption, or after the demo: it goes on from there.
"""

import argparse
from pathlib import Path

import demo
import pipeline
import report

DOC = Path(__file__).parents[2] / 'docs' / 'mini_lvis.md'
SEEDS = [0, 1, 2]
BEGIN, END = '<!-- results: written by tools/mini_lvis/demo_full.py -->', '<!-- end of results -->'


def main() -> None:
    """Parse the command line, run every seed, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seeds', type=pipeline.seed, nargs='+', default=SEEDS)
    parser.add_argument('--categories', type=pipeline.category_file)
    parser.add_argument('--data', type=Path, default=Path('data'))
    parser.add_argument('--work', type=Path, default=Path('work_dirs'))
    parser.add_argument(
        '--doc',
        type=Path,
        help='page that the tables go to (default: docs/mini_lvis.md, for the default seeds and '
        'categories; else none)',
    )
    args = parser.parse_args()

    per_seed = []
    for seed in args.seeds:
        name = pipeline.world_name(seed, args.categories)
        world = pipeline.World(seed, args.categories, args.data / name, args.work / name)
        print(f'\n=== seed {seed}', flush=True)
        rows = run(world)
        report.save(rows, world.work / 'results_full.json')
        print(f'\n{report.demo_table(rows)}', flush=True)
        per_seed.append(rows)
    tables = report.full_tables(per_seed)
    print(f'\n{tables}')
    if doc := args.doc or default_page(args.seeds, args.categories):
        write_tables(doc, tables, args.seeds)
        print(f'written to {doc}')


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


def default_page(seeds: list[int], categories: Path | None) -> Path | None:
    """The page of the documentation, which shows the default seeds and categories only."""
    return DOC if categories is None and seeds == SEEDS else None


def write_tables(doc: Path, tables: str, seeds: list[int], begin: str = BEGIN) -> None:
    """Put the tables between the two markers of the page, leaving the rest as it is."""
    text = doc.read_text() if doc.exists() else f'{begin}\n{END}\n'
    head, found, rest = text.partition(begin)
    if not found or END not in rest:
        raise SystemExit(f'{doc} has no lines "{begin}" and "{END}" to put the tables between')
    tail = rest.split(END, 1)[1]
    seeds_text = ', '.join(map(str, seeds))
    doc.write_text(f'{head}{begin}\n\nSeeds {seeds_text}.\n\n{tables}\n\n{END}{tail}')


if __name__ == '__main__':
    main()
