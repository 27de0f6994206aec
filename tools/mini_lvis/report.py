"""AP of the mini world's detectors from their result files, with lvis-api."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from lvis import LVIS, LVISResults

from mmdet_vild.evaluation.fast_lvis_metric import SparseLVISEval
from mmdet_vild.vocabulary import is_novel, load_categories

#: The two test sets by their titles, and the columns that groups of categories make.
TEST_SETS = {'seen designs': 'test', 'unseen designs': 'unseen'}
GROUPS = ('all', 'base', 'novel', 'frequent', 'common')
IOU_TYPES = {'boxes': 'bbox', 'masks': 'segm'}
COLUMNS = {
    'AP': ('AP', 'all'),
    'base AP': ('AP', 'base'),
    'novel AP': ('AP', 'novel'),
    'novel AP50': ('AP50', 'novel'),
    'APc': ('AP', 'common'),
    'APf': ('AP', 'frequent'),
}

#: Of novel and of base categories, at all overlaps, and at one.
AP_COLUMNS = {
    f'{group} {metric}': (metric, group)
    for group in ('novel', 'base')
    for metric in ('AP', 'AP50', 'AP75')
}

#: Gives, of categories, the (C,) bool mask of each group.
Groups = Callable[[Sequence[dict]], Mapping[str, np.ndarray]]


def category_groups(categories: Sequence[dict]) -> dict[str, np.ndarray]:
    """Which categories belong to each of ``GROUPS``.

    Returns:
        A (C,) bool mask a group.
    """
    novel = np.array([is_novel(category) for category in categories])
    frequency = np.array([category['frequency'] for category in categories])
    return {
        'all': np.ones(len(categories), bool),
        'base': ~novel,
        'novel': novel,
        'frequent': frequency == 'f',
        'common': frequency == 'c',
    }


def evaluate(
    ann_file: Path,
    results: Path,
    iou_type: str,
    groups: Groups = category_groups,
) -> dict[str, dict[str, float]]:
    """What :func:`evaluate_rows` says of a result file.

    Args:
        ann_file: LVIS annotation file of the split.
        results: What ``LVISMetric`` wrote, for these images and maybe others:
            ``PREFIX.bbox.json`` or ``PREFIX.segm.json``.
        iou_type: ``'bbox'`` or ``'segm'``.
        groups: Gives, of the file's categories, those of each group.
    """
    gt = LVIS(str(ann_file))
    rows = [row for row in json.loads(results.read_text()) if row['image_id'] in gt.imgs]
    return evaluate_rows(gt, rows, iou_type, groups(load_categories(str(ann_file))))


def evaluate_rows(
    gt: LVIS,
    rows: list[dict],
    iou_type: str,
    groups: Mapping[str, np.ndarray],
    img_ids: Sequence[int] | None = None,
) -> dict[str, dict[str, float]]:
    """AP, AP50 and AP75 in percent of every group of categories.

    Args:
        gt: The annotations.
        rows: Detections, as ``LVISMetric`` writes them.
        iou_type: ``'bbox'`` or ``'segm'``.
        groups: (C,) bool masks of the categories.
        img_ids: The images that count; None for all.

    Returns:
        ``{'AP': {group: value}, 'AP50': ..., 'AP75': ...}``; NaN for a group without categories.
    """
    # LVISResults needs a detection; one without an area does not count.
    none = dict(image_id=min(gt.imgs), category_id=min(gt.cats), bbox=[0, 0, 0, 0], score=0)
    evaluation = SparseLVISEval(gt, LVISResults(gt, rows or [none]), iou_type)
    if img_ids is not None:
        evaluation.params.img_ids = sorted(img_ids)
    evaluation.run()
    # (T thresholds, R recalls, C categories, areas); -1 where a category does not occur.
    precision = evaluation.eval['precision'][..., 0]
    precision = np.where(precision > -1, precision, np.nan)
    thresholds = evaluation.params.iou_thrs

    def mean(values: np.ndarray) -> float:
        return float(100 * np.nanmean(values)) if np.isfinite(values).any() else float('nan')

    def of_groups(of: np.ndarray) -> dict[str, float]:
        return {group: mean(precision[of][:, :, mask]) for group, mask in groups.items()}

    return {
        'AP': of_groups(thresholds > 0),
        'AP50': of_groups(np.isclose(thresholds, 0.5)),
        'AP75': of_groups(np.isclose(thresholds, 0.75)),
    }


def evaluate_method(data: Path, folder: Path, groups: Groups = category_groups) -> dict:
    """What :func:`evaluate` says of one method, from the results in its folder.

    Args:
        data: Folder of the dataset.
        folder: Of the results.
        groups: See :func:`evaluate`.

    Returns:
        For each test set a dict of ``bbox`` and ``segm``.
    """
    return {
        title: {
            iou_type: evaluate(
                data / 'annotations' / f'lvis_v1_{split}.json',
                folder / f'results.{iou_type}.json',
                iou_type,
                groups,
            )
            for iou_type in IOU_TYPES.values()
        }
        for title, split in TEST_SETS.items()
    }


def demo_table(rows: dict[str, dict]) -> str:
    """A Markdown table a test set: AP, APr, APc and APf of each method, boxes and masks."""
    columns = {'AP': 'all', 'APr': 'novel', 'APc': 'common', 'APf': 'frequent'}
    tables = []
    for title in TEST_SETS:
        header = [title, *(f'box {c}' for c in columns), *(f'mask {c}' for c in columns)]
        lines = ['| ' + ' | '.join(header) + ' |', '|---' + '|---:' * (len(header) - 1) + '|']
        for method, result in rows.items():
            values = [
                f'{result[title][iou_type]["AP"][group]:.1f}'
                for iou_type in IOU_TYPES.values()
                for group in columns.values()
            ]
            lines.append('| ' + ' | '.join([method, *values]) + ' |')
        tables.append('\n'.join(lines))
    return '\n\n'.join(tables)


def full_tables(
    per_seed: Sequence[dict[str, dict]],
    columns: Mapping[str, tuple[str, str]] = COLUMNS,
    iou_types: Mapping[str, str] = IOU_TYPES,
) -> str:
    """Markdown tables of mean and standard deviation over the seeds, of each test set.

    Args:
        per_seed: What :func:`evaluate_method` says of each method.
        columns: By their titles, figures and groups of categories.
        iou_types: A table for each, by what it is of.
    """
    tables = []
    for title in TEST_SETS:
        for name, iou_type in iou_types.items():
            values = {
                column: lambda row, where=(title, iou_type), of=of: row[where[0]][where[1]][of[0]][
                    of[1]
                ]
                for column, of in columns.items()
            }
            seeds = len(per_seed)
            over = f', mean ± standard deviation over {seeds} seeds' if seeds > 1 else ''
            table = mean_table('method', per_seed, values)
            tables.append(f'{title.capitalize()}, {name}{over}:\n\n{table}')
    return '\n\n'.join(tables)


def spread(values: Sequence[float | None], digits: int = 1) -> str:
    """The mean and, of several values, the standard deviation; of what is not known, nothing."""
    values = [value for value in values if value is not None and np.isfinite(value)]
    if not values:
        return ''
    deviation = f' ± {np.std(values, ddof=1):.{digits}f}' if len(values) > 1 else ''
    return f'{np.mean(values):.{digits}f}{deviation}'


def mean_table(
    corner: str, per_seed: Sequence[dict[str, dict]], columns: dict[str, Callable[[dict], float]]
) -> str:
    """A Markdown table: for each row mean and, of several seeds, standard deviation.

    Args:
        corner: What stands in its corner.
        per_seed: Of each seed the rows by their titles.
        columns: How each column's value follows from a row.
    """
    lines = [f'| {corner} | ' + ' | '.join(columns) + ' |', '|---' + '|---:' * len(columns) + '|']
    for title in per_seed[0]:
        cells = []
        for value_of in columns.values():
            cells.append(spread([value_of(rows[title]) for rows in per_seed]))
        lines.append(f'| {title} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def save(rows: dict[str, dict], file: Path) -> None:
    """Write the evaluated rows as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows, indent=2) + '\n')
