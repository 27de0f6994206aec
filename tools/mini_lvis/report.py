"""AP of the mini world's detectors from their result files, with lvis-api."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lvis import LVIS, LVISEval, LVISResults

from mmdet_vild.vocabulary import is_novel, load_categories

#: The two test sets by their titles, and the columns that groups of categories make.
TEST_SETS = {'seen designs': 'test', 'unseen designs': 'unseen'}
GROUPS = ('all', 'base', 'novel', 'frequent', 'common')
IOU_TYPES = {'boxes': 'bbox', 'masks': 'segm'}


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


def evaluate(ann_file: Path, results: Path, iou_type: str) -> dict[str, dict[str, float]]:
    """AP and AP50 in percent of every group of categories.

    Args:
        ann_file: LVIS annotation file of the split.
        results: What ``LVISMetric`` wrote, for these images and maybe others:
            ``PREFIX.bbox.json`` or ``PREFIX.segm.json``.
        iou_type: ``'bbox'`` or ``'segm'``.

    Returns:
        ``{'AP': {group: value}, 'AP50': {group: value}}``; NaN for a group without categories.
    """
    gt = LVIS(str(ann_file))
    rows = [row for row in json.loads(results.read_text()) if row['image_id'] in gt.imgs]
    evaluation = LVISEval(gt, LVISResults(gt, rows), iou_type)
    evaluation.run()
    # (T thresholds, R recalls, C categories, areas); -1 where a category does not occur.
    precision = evaluation.eval['precision'][..., 0]
    precision = np.where(precision > -1, precision, np.nan)
    at_50 = np.isclose(evaluation.params.iou_thrs, 0.5)
    groups = category_groups(load_categories(str(ann_file)))

    def mean(values: np.ndarray) -> float:
        return float(100 * np.nanmean(values)) if np.isfinite(values).any() else float('nan')

    return {
        'AP': {g: mean(precision[:, :, mask]) for g, mask in groups.items()},
        'AP50': {g: mean(precision[at_50][:, :, mask]) for g, mask in groups.items()},
    }


def evaluate_method(data: Path, folder: Path) -> dict:
    """What :func:`evaluate` says of one method, from the results in its folder.

    Returns:
        For each test set a dict of ``bbox`` and ``segm``.
    """
    return {
        title: {
            iou_type: evaluate(
                data / 'annotations' / f'lvis_v1_{split}.json',
                folder / f'results.{iou_type}.json',
                iou_type,
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


def full_tables(per_seed: Sequence[dict[str, dict]]) -> str:
    """Markdown tables of mean and standard deviation over the seeds: test sets, boxes, masks."""
    columns = {
        'AP': ('AP', 'all'),
        'base AP': ('AP', 'base'),
        'novel AP': ('AP', 'novel'),
        'novel AP50': ('AP50', 'novel'),
        'APc': ('AP', 'common'),
        'APf': ('AP', 'frequent'),
    }
    tables = []
    for title in TEST_SETS:
        for name, iou_type in IOU_TYPES.items():
            lines = [
                f'{title.capitalize()}, {name}, mean ± standard deviation over {len(per_seed)} '
                'seeds:',
                '',
                '| method | ' + ' | '.join(columns) + ' |',
                '|---' + '|---:' * len(columns) + '|',
            ]
            for method in per_seed[0]:
                cells = []
                for metric, group in columns.values():
                    values = [rows[method][title][iou_type][metric][group] for rows in per_seed]
                    spread = np.std(values, ddof=1) if len(values) > 1 else float('nan')
                    cells.append(f'{np.mean(values):.1f} ± {spread:.1f}')
                lines.append(f'| {method} | ' + ' | '.join(cells) + ' |')
            tables.append('\n'.join(lines))
    return '\n\n'.join(tables)


def save(rows: dict[str, dict], file: Path) -> None:
    """Write the evaluated rows as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows, indent=2) + '\n')
