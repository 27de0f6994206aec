"""What fine-tuning on one's own categories leaves of an open vocabulary, over several seeds.

    python tools/mini_lvis/finetune.py

It goes on from the worlds of ``demo.py``, which it makes where they are not there. Six of a world's
novel categories become somebody's own: they are annotated in a hundred pictures (of which some show
none of them, and are not trained on), beside things that are not, six novel and six base
categories. Its ViLD is fine-tuned on these six words, with and without distillation, and with and
without the old words as rivals, and, without further training, averaged with what it was before;
and tested on the test split with all words. Writes the table of docs/vild_plus.md. Run it again
after an interruption.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import demo
import demo_full
import numpy as np
import pipeline
import report
from publish import publish

from mmdet_vild.vocabulary import is_novel

BEGIN = '<!-- fine-tuning: written by tools/mini_lvis/finetune.py -->'
#: What is fine-tuned: the config, and whether the old words are rivals.
VARIANTS = {
    'no distillation': ('vild-text', False),
    'no distillation, rivals': ('vild-text', True),
    'distillation': ('vild', False),
    'distillation, rivals': ('vild', True),
}
#: Those whose weights are averaged with the ones before, too.
AVERAGED = ('no distillation', 'distillation, rivals')
ITERATIONS, WARM_UP = 150, 20
#: A fifth of that of the training before; steps are few.
SCHEDULE = (
    'optim_wrapper.optimizer.lr=0.0003',
    f'train_cfg.max_iters={ITERATIONS}',
    f'train_cfg.val_begin={ITERATIONS + 1}',
    f'param_scheduler.0.end={WARM_UP}',
    f'param_scheduler.1.begin={WARM_UP}',
    f'param_scheduler.1.end={ITERATIONS}',
)
#: What one's own data need of the world's folder ``vild``.
FROM_TEACHER = ('teacher.pt', 'teacher.json', 'imagenet.pth')
#: Added to a world's seed, for other pictures.
OTHER_SEED = 1000
COLUMNS = {
    f'{group} {metric}': (metric, group)
    for group in ('own', 'base', 'novel')
    for metric in ('AP', 'AP50')
}


def main() -> None:
    """Parse the command line, run every seed, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seeds', type=pipeline.seed, nargs='+', default=demo_full.SEEDS)
    parser.add_argument('--data', type=Path, default=Path('data'))
    parser.add_argument('--work', type=Path, default=Path('work_dirs'))
    args = parser.parse_args()

    for seed in args.seeds:
        name = pipeline.world_name(seed, None)
        world = pipeline.World(seed, None, args.data / name, args.work / name)
        print(f'\n=== seed {seed}', flush=True)
        demo.run(world)
        rows = run(world)
        report.save(rows, world.work / 'results_finetune.json')
        publish('vild_plus.md', BEGIN, 'finetuning', seed, rows, tables)


def tables(per_seed: Sequence[dict[str, dict]]) -> str:
    """Markdown tables of the figures of each seed."""
    return report.full_tables(per_seed, COLUMNS, {'boxes': 'bbox'})


def run(world: pipeline.World, kinds: int = 6, pictures: int = 100) -> dict[str, dict]:
    """Fine-tune and test every variant in a world where ``demo.run`` has been run.

    Args:
        world: Its ViLD is fine-tuned.
        kinds: How many categories are one's own.
        pictures: How many are made; those that show none of them are not trained on.

    Returns:
        What :func:`report.evaluate_method` says before and after of the groups ``'own'``,
        ``'base'`` and ``'novel'``, the other novel categories.
    """
    categories = json.loads((world.data / 'categories.json').read_text())
    own, others = choose_kinds(categories, kinds, world.seed)
    mine = world.fork(world.data.with_name(f'{world.data.name}_own'))
    make_pictures(mine, world, own, others, pictures)
    mine.extract(checkpoint='vild')
    tested = {'before': world.work / 'vild-test'}
    rivals = f'model.roi_head.bbox_head.cls_predictor_cfg.rivals={world.data / "vild/text.npz"}'
    for title, (config, with_rivals) in VARIANTS.items():
        name = f'own-{title.replace(", ", "-").replace(" ", "-")}'
        branch = mine.fork()
        options = [
            *SCHEDULE,
            # Not load_from: --resume has nothing but a checkpoint of the same run.
            'model.init_cfg.type=Pretrained',
            f'model.init_cfg.checkpoint={world.checkpoint("vild")}',
            'train_dataloader.dataset.drop_novel=False',  # nothing is novel among one's own words
            *([rivals] if with_rivals else []),
        ]
        branch.train(config, name, options)
        tested[title] = branch.fork(world.data).test('vild', name, name)
        if title in AVERAGED:
            between = average(branch, name)
            tested[f'{title}, averaged'] = branch.fork(world.data).test('vild', between, between)

    def groups(categories: Sequence[dict]) -> dict[str, np.ndarray]:
        of = report.category_groups(categories)
        is_own = np.array([category['name'] in own for category in categories])
        return {'own': is_own, 'base': of['base'], 'novel': of['novel'] & ~is_own}

    return {
        title: report.evaluate_method(world.data, folder, groups)
        for title, folder in tested.items()
    }


def average(world: pipeline.World, name: str) -> str:
    """The name of a checkpoint half way from the world's ViLD to what it was fine-tuned to."""
    averaged = f'{name}-averaged'
    out = world.work / averaged / 'averaged.pth'
    tool = pipeline.HERE.parent / 'model_converters' / 'average_checkpoints.py'
    world.steps.run(
        f'average {name}',
        [sys.executable, tool, world.checkpoint('vild'), world.checkpoint(name), '--out', out],
        [out],
        [tool],
    )
    (out.parent / 'last_checkpoint').write_text(str(out))
    return averaged


def choose_kinds(categories: Sequence[dict], count: int, seed: int) -> tuple[list[str], list[str]]:
    """Which novel categories become one's own, and what else the pictures show.

    Returns:
        The names of ``count`` novel categories; those of as many others, and as many base ones.
    """
    rng = np.random.default_rng(seed)
    named = {True: [], False: []}
    for category in categories:
        named[is_novel(category)].append(category['name'])
    novel, base = (rng.permutation(sorted(named[kind])).tolist() for kind in (True, False))
    return novel[:count], [*novel[count : 2 * count], *base[:count]]


def make_pictures(
    mine: pipeline.World, world: pipeline.World, own: list[str], others: list[str], pictures: int
) -> None:
    """One's own data: pictures, annotations of the own categories, and their words."""
    wanted = world.work / 'own.json'
    entries = [dict(name=name, frequency='f') for name in own]
    # What is novel to generate.py has no annotations in its train split.
    entries += [dict(name=name, frequency='r') for name in others]
    wanted.write_text(json.dumps(entries, indent=2))
    made, python = mine.data / 'pictures', sys.executable
    mine.steps.run(
        "make one's own pictures",
        [python, pipeline.HERE / 'generate.py', '--out', made, *world.sizes,
         '--seed', world.seed + OTHER_SEED, '--categories', wanted, '--train', pictures,
         '--val', 1, '--test', 1, '--unseen', 1],
        [made],
        [wanted, pipeline.HERE / 'generate.py', *pipeline.PAINTING],
    )  # fmt: skip
    for folder in ('annotations', 'vild'):
        (mine.data / folder).mkdir(exist_ok=True)
    for split in ('train', 'val'):
        file = f'annotations/lvis_v1_{split}.json'
        content = without_categories(json.loads((made / file).read_text()), own)
        (mine.data / file).write_text(json.dumps(content))
    (mine.data / 'categories.json').write_text(json.dumps(content['categories']))
    links = {folder: made / folder for folder in ('train2017', 'val2017')}
    links |= {f'vild/{f}': world.data / 'vild' / f for f in FROM_TEACHER}
    for link, target in links.items():
        if not (mine.data / link).exists():
            (mine.data / link).symlink_to(target.resolve())
    text = mine.data / 'vild' / 'text.npz'
    mine.steps.run(
        "encode one's own words",
        [python, pipeline.HERE.parent / 'encode_vocabulary.py', mine.data / 'categories.json',
         '--model', 'mini-clip-lite0', '--pretrained', mine.data / 'vild/teacher.pt', '--out',
         text],
        [text],
    )  # fmt: skip


def without_categories(content: dict, names: Sequence[str]) -> dict:
    """An LVIS annotation file with no other categories than those of the names."""
    categories = [c for c in content['categories'] if c['name'] in names]
    ids = {category['id'] for category in categories}
    return {
        **content,
        'categories': categories,
        'annotations': [a for a in content['annotations'] if a['category_id'] in ids],
        'images': [
            {**image, 'neg_category_ids': [i for i in image['neg_category_ids'] if i in ids]}
            for image in content['images']
        ],
    }


if __name__ == '__main__':
    main()
