"""Mean IoU of the mini world's segmentors, from the pixels that their tests counted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from report import TEST_SETS, spread
from segment_words import held_out_words

from mmdet_vild.evaluation.open_vocabulary_seg_metric import means, read_counts
from mmdet_vild.vocabulary import is_novel, load_categories

#: Columns: a group of classes, and the words that all are asked by.
COLUMNS = {
    'base': ('base', 'names'),
    'with a synonym, by its name': ('renamed', 'names'),
    'by the held-out synonym': ('renamed', 'held_out'),
    'novel': ('novel', 'names'),
    'materials': ('materials', 'names'),
}


def groups(data: Path) -> dict[str, np.ndarray]:
    """Which classes belong to each group of ``COLUMNS``: a (C,) bool mask each.

    ``base`` and ``novel`` are categories, ``renamed`` the base ones of which a synonym is held out.
    """
    classes = load_categories(str(data / 'gkc' / 'names.json'))
    things = len(load_categories(str(data / 'categories.json')))
    novel = np.array([is_novel(each) for each in classes])
    material = np.arange(len(classes)) >= things
    renamed = held_out_words(data)
    return {
        'base': ~novel & ~material,
        'renamed': np.array([each['name'] in renamed for each in classes]),
        'novel': novel,
        'materials': material,
    }


def evaluate_method(data: Path, folders: dict[str, Path]) -> dict[str, dict[str, float]]:
    """The mean IoU in percent of one method.

    Args:
        data: The world's folder.
        folders: Of each set of words the folder with the counts of a test.

    Returns:
        For each test set the value of each column, the mean over the classes of the group that the
        annotations have; NaN where there are none.
    """
    masks = groups(data)
    return {
        title: {
            column: means(read_counts(folders[words] / f'{split}.json')[1][:, masks[group]])['mIoU']
            for column, (group, words) in COLUMNS.items()
        }
        for title, split in TEST_SETS.items()
    }


def demo_table(rows: dict[str, dict], times: dict[str, float]) -> str:
    """A Markdown table a test set: all columns, and milliseconds where they were measured."""
    return _tables(
        rows,
        {row: f'{milliseconds:.0f}' for row, milliseconds in times.items()},
        lambda row, title, column: f'{rows[row][title][column]:.1f}',
    )


def full_tables(per_seed: Sequence[dict[str, dict]]) -> str:
    """Markdown tables of mean and standard deviation over the seeds.

    Args:
        per_seed: Of each seed ``rows``, by their titles what :func:`evaluate_method` says, and
            ``times``, milliseconds of some of them.
    """
    return _tables(
        per_seed[0]['rows'],
        {
            row: spread([each['times'][row] for each in per_seed], digits=0)
            for row in per_seed[0]['times']
        },
        lambda row, title, column: spread([each['rows'][row][title][column] for each in per_seed]),
    )


def _tables(rows: Sequence[str], times: dict[str, str], cell) -> str:
    tables = []
    for title in TEST_SETS:
        header = [f'mIoU, {title}', *COLUMNS, 'ms']
        lines = ['| ' + ' | '.join(header) + ' |', '|---' + '|---:' * (len(header) - 1) + '|']
        for row in rows:
            values = [cell(row, title, column) for column in COLUMNS]
            lines.append('| ' + ' | '.join([row, *values, times.get(row, '')]).rstrip() + ' |')
        tables.append('\n'.join(lines))
    return '\n\n'.join(tables)
