"""EZSD in the mini world, after the demo: novel objects with less training.

    python tools/mini_lvis/demo_ezsd.py
    python tools/mini_lvis/demo_ezsd.py --full

In a world that has what EZSD is for (``generate.py --traits``): pictures of a camera that the
teacher has not seen, and novel objects larger than any that a detector was taught to propose. Tunes
the demo's teacher, lets it propose regions, and trains ViLD and EZSD for half of the usual
iterations. ``--full`` has every part of EZSD alone and other schedules, of three seeds, and writes
their figures into docs/results/ and tables into docs/ezsd.md. Run it again after an interruption:
it goes on where it stopped.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import demo_full
import hidden_objects
import pipeline
import report
from generate import TRAITS
from mmengine.config import Config
from publish import publish

BEGIN = '<!-- results: written by tools/mini_lvis/demo_ezsd.py -->'
#: The iterations of a whole schedule, and the parts of it that are trained.
WHOLE = Config.fromfile(pipeline.config_of('vild')).train_cfg.max_iters
PARTS = {'a quarter': 1 / 4, 'half': 1 / 2, 'all': 1}
HALF = 'half'


@dataclass(frozen=True)
class Row:
    """A row of the table: a training for a part of the whole schedule."""

    title: str
    method: str
    store: str
    part: str = HALF
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What its folder is called."""
        words = [self.method, Path(self.store).name, *(o.split('.')[-1] for o in self.options)]
        return '_'.join([*words, self.part]).replace(' ', '-').replace('=', '-')


#: What extracts the regions of a store.
STORES = {
    'vild/regions': 'region-embeddings',
    'ezsd/regions_clip-anchors': 'region-embeddings_clip-anchors_lite0',
    'ezsd/regions_rpn': 'region-embeddings_tuned',
    'ezsd/regions_clip-anchors_raw': 'region-embeddings_clip-anchors_raw_lite0',
    'ezsd/regions_rescored': 'region-embeddings_rescored',
}
RPN, ANCHORS, TUNED_RPN, RAW_ANCHORS, RESCORED = STORES
#: The store that a training reads.
STORE_OPTION = 'train_dataloader.dataset.pipeline.3.store.path'
PLAIN = ('model.roi_head.bbox_head.class_conditioned=False',)
UNWEIGHTED = (*PLAIN, 'model.roi_head.distill_loss.normalize_weights=ignore')
VILD, EZSD = Row('ViLD', 'vild', RPN), Row('EZSD', 'ezsd', ANCHORS)
DEMO = (VILD, EZSD)
FULL = (
    VILD,
    Row('ViLD + tuned teacher', 'vild', TUNED_RPN),
    Row('ViLD + CLIP rows', 'ezsd', RAW_ANCHORS, HALF, UNWEIGHTED),
    Row('ViLD + both', 'ezsd', ANCHORS, HALF, UNWEIGHTED),
    Row('ViLD + both + weights', 'ezsd', ANCHORS, HALF, PLAIN),
    EZSD,
    Row("EZSD, the RPN's regions re-scored", 'ezsd', RESCORED),
    *(Row('ViLD', 'vild', RPN, part) for part in ('a quarter', 'all')),
    *(Row('EZSD', 'ezsd', ANCHORS, part) for part in ('a quarter', 'all')),
)


def main() -> None:
    """Parse the command line, and run every step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--full', action='store_true', help='all rows')
    parser.add_argument('--seed', type=pipeline.seed, help='(default: 0; with --full 0, 1 and 2)')
    parser.add_argument('--categories', type=pipeline.category_file)
    parser.add_argument('--data', type=Path, default=Path('data'), help='folder of the worlds')
    parser.add_argument('--work', type=Path, default=Path('work_dirs'))
    args = parser.parse_args()

    default = demo_full.SEEDS if args.full else [0]
    for seed in default if args.seed is None else [args.seed]:
        name = pipeline.world_name(seed, args.categories)
        first = pipeline.World(seed, args.categories, args.data / name, args.work / name)
        name = f'{name}_ezsd'
        sizes = ('--traits', *TRAITS)
        world = pipeline.World(
            seed, args.categories, args.data / name, args.work / name, sizes=sizes
        )
        print(f'\n=== seed {seed}', flush=True)
        found = run(world, first, FULL if args.full else DEMO)
        report.save(found, world.work / 'results_ezsd.json')
        world.steps.print_total()
        if args.full and args.categories is None:
            publish('ezsd.md', BEGIN, 'ezsd', seed, found, tables)
        else:
            print(f'\n{tables([found])}')


def run(world: pipeline.World, first: pipeline.World, rows: Sequence[Row]) -> dict:
    """Train and test some rows.

    Args:
        world: Of the scenes with ``TRAITS``.
        first: The demo's, whose teacher it is.
        rows: What to train.

    Returns:
        ``rows``: of each title what :func:`report.evaluate_method` says, with ``store`` and the
        seconds of its regions and of its training; ``shares`` of the regions of each store, see
        :func:`hidden_objects.shares`; ``crops``: the teacher's accuracies, raw and tuned.
    """
    first.prepare()
    world.prepare(teacher_of=first)
    world.train('vild-text', options=schedule(HALF))
    world.extract()
    world.tune_teacher()
    worlds, found = {RPN: world}, {}
    for row in rows:
        if row.store not in worlds:
            worlds[row.store] = world.fork()
            worlds[row.store].extract(STORES[row.store], row.store)
        options = (f'{STORE_OPTION}={world.data / row.store}', *schedule(row.part), *row.options)
        alone = worlds[row.store].fork()
        alone.train(row.method, row.name, options)
        tested = alone.test(row.method, name=row.name)
        found[f'{row.title}, {row.part}'] = {
            **report.evaluate_method(world.data, tested),
            'store': row.store,
            'regions_seconds': sum(map(world.steps.seconds, steps_to(row.store))),
            'training_seconds': world.steps.seconds(f'train {row.name}'),
        }
    shares = {
        store: hidden_objects.shares(world.data, world.data / store)
        for store in dict.fromkeys(row.store for row in rows)
    }
    return {'rows': found, 'shares': shares, 'crops': crop_accuracies(world)}


def schedule(part: str) -> tuple[str, ...]:
    """The ``--cfg-options`` of a part of the whole schedule."""
    iterations = round(PARTS[part] * WHOLE)
    return (f'train_cfg.max_iters={iterations}', f'param_scheduler.1.end={iterations}')


def steps_to(store: str) -> list[str]:
    """The steps of which the regions in a store are made, but for the data and the raw teacher."""
    detector = ['train vild-text'] if 'clip-anchors' not in store else []
    tuned = store not in (RPN, RAW_ANCHORS)
    return [*detector, *(['train tune-teacher_lite0'] if tuned else []), pipeline.embed_step(store)]


def crop_accuracies(world: pipeline.World) -> dict[str, dict[str, float]]:
    """What the tuning logged of the annotated objects of val, before it and after it, in %."""
    rows = [row for row in world.log('tune-teacher_lite0') if 'crops/accuracy' in row]
    return {
        when: {group: row[f'crops/{group}_accuracy'] for group in ('base', 'novel')}
        for when, row in zip(('raw', 'tuned'), (rows[0], rows[-1]), strict=True)
    }


def tables(per_seed: Sequence[dict]) -> str:
    """The Markdown: of each test set its rows, of each store its regions, and the teachers."""
    parts = []
    for title in report.TEST_SETS:
        columns = {
            'base AP': lambda row, t=title: row[t]['bbox']['AP']['base'],
            'novel AP': lambda row, t=title: row[t]['bbox']['AP']['novel'],
            'novel AP50': lambda row, t=title: row[t]['bbox']['AP50']['novel'],
            'regions, s': lambda row: row['regions_seconds'],
            'training, s': lambda row: row['training_seconds'],
        }
        parts.append(report.mean_table(title, [one['rows'] for one in per_seed], columns))
    columns = {
        name: lambda row, name=name: 100 * row[name]
        for name in ('rows on novel', 'rows on base', 'novel found', 'base found')
    }
    parts.append(report.mean_table('regions, %', [one['shares'] for one in per_seed], columns))
    columns = {name: lambda row, name=name: row[name] for name in ('base', 'novel')}
    parts.append(
        report.mean_table('crops named right, %', [one['crops'] for one in per_seed], columns)
    )
    return '\n\n'.join(parts)


if __name__ == '__main__':
    main()
