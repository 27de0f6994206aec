"""What each addition of ViLD+ is worth over several seeds: the tables of docs/vild_plus.md.

    python tools/mini_lvis/ablation.py

It goes on from the worlds of ``demo.py``, which it makes where they are not there: ViLD and
ViLD-ensemble with each addition alone, ViLD-ensemble with all, and with those that help (ViLD+).
An addition that acts in tests alone takes the checkpoint that is there. Two more tables:
``--what regions``, of docs/benchmarks.md, what it costs ViLD to learn of fewer regions of an image;
``--what gkc``, of docs/gkc.md, ViLD with GKC's synonyms and distillation. Figures are of the test
split; the settings are chosen on val, by ``choose.py``. Run it again after an interruption: it goes
on from there.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import demo
import demo_full
import pipeline
import report
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from publish import publish

from mmdet_vild import load_detector

#: What there is, the page that its tables go to, the mark there, and the file of its figures.
TABLES = {
    'plus': (
        'vild_plus.md',
        '<!-- results: written by tools/mini_lvis/ablation.py -->',
        'vild_plus',
    ),
    'regions': (
        'benchmarks.md',
        '<!-- regions: written by tools/mini_lvis/ablation.py --what regions -->',
        'regions',
    ),
    'gkc': (
        'gkc.md',
        '<!-- ViLD: written by tools/mini_lvis/ablation.py --what gkc -->',
        'vild_gkc',
    ),
}
HEAD = 'model.roi_head.bbox_head'
IOU = (f'{HEAD}.loss_iou.type=LocalisationQualityLoss',)
OBJECTNESS = ('model.test_cfg.rcnn.objectness_weight=0.2',)
PARTIAL = (
    'model.test_cfg.rcnn.partial.overlap=0.8',
    'model.test_cfg.rcnn.partial.score_ratio=0.5',
)
#: The config that each is trained with, and further options.
BASES = {
    'ViLD': ('vild', ()),
    'ViLD-ensemble': (
        'vild-ensemble',
        (f'{HEAD}.type=ViLDEnsembleBBoxHead', f'{HEAD}.ensemble_weight=0.83'),
    ),
}
#: What each is compared with.
REFERENCE = 'ViLD-ensemble'
#: Configs that learn of regions that ``PROPOSER`` proposes.
OLN, PROPOSER = ('vild-oln', 'vild-all'), 'vild-plus-text'
#: The title of the time of an image, and how many are taken.
TIME = 'ms an image'
TIMED = 30
BOXES = {'boxes': 'bbox'}


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        title: Of the row.
        name: Of its folders.
        config: The mini config that it is tested with, and trained if it is.
        options: ``--cfg-options`` of its training, if it has one, and of its test.
        checkpoint: The name of the row whose checkpoint it takes; None if it is trained itself.
    """

    title: str
    name: str
    config: str
    options: tuple[str, ...] = ()
    checkpoint: str | None = None


def plus_rows(bases: Sequence[str] = tuple(BASES)) -> list[Row]:
    """ViLD+'s additions, each alone on each of the ``BASES``; all, and those that help."""
    rows = []
    for base in bases:
        method, options = BASES[base]
        trained = {
            'sigmoid': ('sigmoid', 'vild-sigmoid', ()),
            "OLN's proposals": ('oln', 'vild-oln', ()),
            'IoU in the score': ('iou', 'vild', IOU),
        }
        tested = {
            'objectness in the score': ('objectness', 'vild', OBJECTNESS),
            'no partial objects': ('partial', 'vild', PARTIAL),
            "the teacher's word": ('teacher', 'vild-teacher', ()),
            "the teacher's word on 10 boxes": ('teacher-10', 'vild-teacher', ('model.best=10',)),
        }
        rows += [
            Row(base, method, method),
            *(
                Row(f'{base} + {what}', f'{method}-{short}', config, (*options, *own))
                for what, (short, config, own) in trained.items()
            ),
            *(
                Row(f'{base} + {what}', f'{method}-{short}', config, (*options, *own), method)
                for what, (short, config, own) in tested.items()
            ),
        ]
    if REFERENCE in bases:
        trained = 'vild-ensemble-iou'  # what ViLD+ has besides acts in tests alone
        rows += [
            Row(f'{REFERENCE} + all that is trained', 'vild-all', 'vild-all'),
            Row('ViLD+', 'vild-plus', 'vild-plus', (), trained),
            Row("ViLD+, the teacher's word", 'vild-plus-teacher', 'vild-plus-teacher', (), trained),
        ]
    return rows


def region_rows() -> list[Row]:
    """ViLD with fewer regions of each image in a step, drawn anew each time."""
    option = 'train_dataloader.dataset.pipeline.3.max_proposals'
    few = [Row(f'{n}', f'vild-regions-{n}', 'vild', (f'{option}={n}',)) for n in (5, 10)]
    return [*few, Row('20 (all)', 'vild', 'vild')]


def gkc_rows() -> list[Row]:
    """ViLD with GKC's text diversification, and with its distillation in place of ViLD's."""
    return [
        Row('ViLD', 'vild', 'vild'),
        Row('synonyms, drawn in each step', 'vild-synonyms', 'vild_synonyms'),
        Row('text-guided distillation', 'vild-text-guided', 'vild_text-guided'),
    ]


def main() -> None:
    """Parse the command line, run every seed, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--what', choices=TABLES, nargs='+', default=list(TABLES))
    parser.add_argument(
        '--on', choices=BASES, nargs='+', default=list(BASES), help='what it is added to'
    )
    parser.add_argument('--seeds', type=pipeline.seed, nargs='+', default=demo_full.SEEDS)
    parser.add_argument('--data', type=Path, default=Path('data'))
    parser.add_argument('--work', type=Path, default=Path('work_dirs'))
    args = parser.parse_args()

    bases = [base for base in BASES if base in args.on]
    chosen = {'plus': plus_rows(bases), 'regions': region_rows(), 'gkc': gkc_rows()}
    for seed in args.seeds:
        name = pipeline.world_name(seed, None)
        world = pipeline.World(seed, None, args.data / name, args.work / name)
        print(f'\n=== seed {seed}', flush=True)
        demo.run(world)
        for what in args.what:
            rows = run(world, chosen[what], timed=what == 'plus')
            report.save(rows, world.work / f'results_{what}.json')
            if what != 'plus' or bases == list(BASES):
                page, begin, file = TABLES[what]
                publish(page, begin, file, seed, rows, partial(tables, what))
            else:
                print(f'\n{tables(what, [rows])}', flush=True)


def run(world: pipeline.World, rows: Sequence[Row], timed: bool) -> dict[str, dict]:
    """Train and test every row in a world where ``demo.run`` has been run.

    A row is trained and tested anew only if it changed itself, or what it goes on from.

    Returns:
        What :func:`report.evaluate_method` says of each row, and of boxes, if they are to be
        ``timed``, the time of an image.
    """
    worlds = dict.fromkeys(('vild-text', 'vild'), world)  # which all forks have in common
    folders = {method: world.work / f'{method}-test' for method in worlds}
    for row in rows:
        if row.name in folders:
            continue
        trained = row.checkpoint or row.name
        if trained not in worlds:
            origin = PROPOSER if row.config in OLN else 'vild'
            if origin not in worlds:
                worlds[origin] = world.fork()
                worlds[origin].train(PROPOSER)
                worlds[origin].extract(store='vild/oln/regions', checkpoint=PROPOSER)
            worlds[trained] = worlds[origin].fork()
            worlds[trained].train(row.config, row.name, row.options)
        tested = worlds[trained].fork().test(row.config, trained, row.name, row.options)
        folders[row.name] = tested
    evaluated = {}
    for row in rows:
        evaluated[row.title] = report.evaluate_method(world.data, folders[row.name])
        if timed:
            checkpoint = world.checkpoint(row.checkpoint or row.name)
            needed = milliseconds(next(folders[row.name].glob('*.py')), checkpoint)
            for figures in evaluated[row.title].values():
                figures['bbox'][TIME] = {'all': needed}
    return evaluated


def milliseconds(config: Path, checkpoint: Path) -> float:
    """Median time to detect in one image of val: wall-clock on a GPU, else of one thread.

    Args:
        config: As the test tool wrote it.
        checkpoint: To be tested.
    """
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    model = load_detector(cfg, checkpoint)
    cuda = next(model.parameters()).is_cuda
    clock = time.perf_counter if cuda else time.process_time
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    times, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)
    for i in range(-2, TIMED):  # the first two warm up
        data = pseudo_collate([dataset[i % len(dataset)]])
        start = clock()
        with torch.no_grad():
            model.test_step(data)
        if cuda:
            torch.cuda.synchronize()
        times.append(1000 * (clock() - start))
    torch.set_num_threads(threads)
    return statistics.median(times[2:])


def tables(what: str, per_seed: Sequence[dict[str, dict]]) -> str:
    """Markdown tables of the figures of each seed."""
    if what != 'plus':
        return report.full_tables(per_seed, report.AP_COLUMNS, BOXES)
    text = report.full_tables(per_seed, report.AP_COLUMNS | {TIME: (TIME, 'all')}, BOXES)
    return text if REFERENCE not in per_seed[0] else f'{text}\n\n{ratios(per_seed)}'


def ratios(per_seed: Sequence[dict[str, dict]]) -> str:
    """A Markdown table, seed by seed: novel AP over the reference's, base AP less the reference's.

    Args:
        per_seed: What :func:`run` says, with a row ``REFERENCE``.
    """
    titles = list(report.TEST_SETS)
    lines = [
        f'Boxes, against {REFERENCE} in the same world, seed by seed:',
        '',
        '| method |' + ''.join(f' {t}: novel AP | base AP |' for t in titles),
        '|---' + '|---:' * 2 * len(titles) + '|',
    ]
    for method in per_seed[0]:
        cells = []
        for title in titles:
            of = [(rows[method], rows[REFERENCE]) for rows in per_seed]
            ap = [(one[title]['bbox']['AP'], other[title]['bbox']['AP']) for one, other in of]
            novel = [one['novel'] / other['novel'] if other['novel'] else None for one, other in ap]
            cells.append(', '.join('-' if ratio is None else f'x {ratio:.2f}' for ratio in novel))
            cells.append(', '.join(f'{one["base"] - other["base"]:+.1f}' for one, other in ap))
        lines.append('| ' + ' | '.join([method, *cells]) + ' |')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
