"""The report's numbers against mmdet's own and against results that are made up."""

import copy
import json
import math
from pathlib import Path

import generate
import numpy as np
import pytest
import report
import torch
from mmdet.evaluation import LVISMetric
from mmengine.logging import MMLogger
from pycocotools import mask as mask_api
from tiny_drawings import CATEGORIES, make_drawings

SIZES = ['--train', '1', '--val', '1', '--test', '12', '--unseen', '4', '--image-size', '128']


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world whose test splits show every category."""
    root = tmp_path_factory.mktemp('report')
    drawings = make_drawings(root / 'drawings')
    arguments = ['--out', str(root / 'data'), '--drawings', str(drawings), '--workers', '1']
    generate.main([*arguments, *SIZES])
    return root / 'data'


@pytest.fixture(scope='module')
def annotations(data: Path) -> dict:
    content = json.loads((data / 'annotations' / 'lvis_v1_test_and_unseen.json').read_text())
    assert {a['category_id'] for a in content['annotations']} == {1, 2, 3, 4, 5}
    return content


def perfect(annotations: dict) -> list[dict]:
    """The annotations as a result file has them."""
    keys = ('image_id', 'category_id', 'bbox', 'segmentation')
    return [{k: a[k] for k in keys} | dict(score=0.9) for a in annotations['annotations']]


def write(folder: Path, rows: list[dict]) -> Path:
    """Both result files, as LVISMetric writes them."""
    folder.mkdir(exist_ok=True)
    for iou_type, absent in (('bbox', 'segmentation'), ('segm', 'bbox')):
        kept = [{k: v for k, v in row.items() if k != absent} for row in rows]
        (folder / f'results.{iou_type}.json').write_text(json.dumps(kept))
    return folder


def test_perfect_results(data, annotations, tmp_path):
    rows = report.evaluate_method(data, write(tmp_path, perfect(annotations)))
    assert list(rows) == ['seen designs', 'unseen designs']
    for row in rows.values():
        for iou_type in ('bbox', 'segm'):
            for metric in ('AP', 'AP50'):
                assert set(row[iou_type][metric]) == set(report.GROUPS)
                assert list(row[iou_type][metric].values()) == pytest.approx([100] * 5)


def test_each_test_set_has_its_own_figures(data, annotations, tmp_path):
    """Objects of the first images alone are found, and these are all of the seen designs'."""
    seen = {image['id'] for image in annotations['images'][:12]}
    rows = [row for row in perfect(annotations) if row['image_id'] in seen]
    rows.append(perfect(annotations)[-1] | dict(bbox=[0, 0, 1, 1]))
    found = report.evaluate_method(data, write(tmp_path, rows))
    assert found['seen designs']['bbox']['AP']['all'] == pytest.approx(100)
    assert found['unseen designs']['bbox']['AP']['all'] == 0


def test_wrong_labels(data, annotations, tmp_path):
    wrong = perfect(annotations)
    for row in wrong:
        row['category_id'] = row['category_id'] % 5 + 1
    rows = report.evaluate_method(data, write(tmp_path, wrong))
    assert (
        max(rows['seen designs']['bbox']['AP50'].values()) < 100
    )  # where two share a place they may be right
    nothing = [row | dict(bbox=[0, 0, 1, 1]) for row in (wrong[0], wrong[-1])]
    rows = report.evaluate_method(data, write(tmp_path, nothing))
    assert list(rows['seen designs']['bbox']['AP'].values()) == [0] * 5


def test_no_detections(data, tmp_path):
    """As of wrong ones: nothing, of what is annotated."""
    for row in report.evaluate_method(data, write(tmp_path, [])).values():
        for figures in (*row['bbox'].values(), *row['segm'].values()):
            assert list(figures.values()) == [0] * 5


@pytest.mark.parametrize(
    ('right', 'expected'),
    [
        ({1, 2, 3}, dict(base=100, novel=0, frequent=100, common=100, all=60)),
        ({2}, dict(base=100 / 3, frequent=0, common=100, novel=0, all=20)),
        ({4}, dict(base=0, novel=50, frequent=0, common=0, all=20)),
    ],
)
def test_groups(data, annotations, tmp_path, right, expected):
    """A category counts as much as another, however many objects it has."""
    rows = [row for row in perfect(annotations) if row['category_id'] in right]
    found = report.evaluate_method(data, write(tmp_path, rows))
    ap = found['seen designs']['bbox']['AP']
    assert {group: ap[group] for group in expected} == pytest.approx(expected)


def test_agrees_with_mmdet(data, annotations, tmp_path):
    """On imperfect boxes and masks, through the files that mmdet's metric writes."""
    rng = np.random.default_rng(0)
    metric = LVISMetric(
        str(data / 'annotations' / 'lvis_v1_test.json'),
        metric=['bbox', 'segm'],
        outfile_prefix=str(tmp_path / 'results'),
    )
    metric.dataset_meta = dict(classes=[category['name'] for category in CATEGORIES])
    MMLogger.get_instance('report', log_level='ERROR')
    rows = perfect(annotations)
    for image in annotations['images'][:12]:
        mine = [row for row in rows if row['image_id'] == image['id']]
        boxes = np.array([row['bbox'] for row in mine]).reshape(-1, 4)
        boxes = boxes + rng.normal(0, 2, boxes.shape)
        boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:].clip(1)
        labels = [row['category_id'] - 1 for row in mine]
        labels = [label if rng.random() < 0.8 else rng.integers(5) for label in labels]
        masks = [np.roll(mask_api.decode(row['segmentation']), 2, axis=1) for row in mine]
        predicted = dict(
            bboxes=torch.tensor(boxes),
            scores=torch.tensor(rng.random(len(mine))),
            labels=torch.tensor([int(label) for label in labels]),
            masks=torch.tensor(np.array(masks).reshape(-1, 128, 128).astype(bool)),
        )
        metric.process(
            {}, [dict(img_id=image['id'], ori_shape=(128, 128), pred_instances=predicted)]
        )
    expected = metric.evaluate(12)

    ann_file = data / 'annotations' / 'lvis_v1_test.json'
    found = {
        iou_type: report.evaluate(ann_file, tmp_path / f'results.{iou_type}.json', iou_type)
        for iou_type in ('bbox', 'segm')
    }
    names = {'AP': 'all', 'APr': 'novel', 'APc': 'common', 'APf': 'frequent'}
    for iou_type in ('bbox', 'segm'):
        for name, group in names.items():
            value = 100 * expected[f'lvis/{iou_type}_{name}']
            assert 1 < value < 99
            assert found[iou_type]['AP'][group] == pytest.approx(value, abs=0.051)
        value = 100 * expected[f'lvis/{iou_type}_AP50']
        assert found[iou_type]['AP50']['all'] == pytest.approx(value, abs=0.051)


def test_a_group_without_categories_is_no_number(data, annotations, tmp_path):
    content = copy.deepcopy(annotations)
    for category in content['categories']:
        category['frequency'] = 'f'
    file = tmp_path / 'annotations.json'
    file.write_text(json.dumps(content))
    folder = write(tmp_path, perfect(annotations))
    ap = report.evaluate(file, folder / 'results.bbox.json', 'bbox')['AP']
    assert ap['all'] == ap['base'] == ap['frequent'] == pytest.approx(100)
    assert all(math.isnan(ap[group]) for group in ('novel', 'common'))


def row(base: float, novel: float) -> dict:
    groups = dict.fromkeys(report.GROUPS, base) | {'novel': novel}
    types = {t: {'AP': groups, 'AP50': groups} for t in ('bbox', 'segm')}
    return dict.fromkeys(report.TEST_SETS, types)


def test_tables(tmp_path):
    rows = {'ViLD-text': row(77.94, 18.06), 'ViLD': row(76.7, 42.1)}
    lines = report.demo_table(rows).splitlines()
    assert lines[0].startswith('| seen designs | box AP | box APr | box APc | box APf | mask AP ')
    assert lines[2] == '| ViLD-text | 77.9 | 18.1 | 77.9 | 77.9 | 77.9 | 18.1 | 77.9 | 77.9 |'
    assert {line.count('|') for line in lines if line} == {10} and len(lines) == 9
    report.save(rows, tmp_path / 'new' / 'results.json')
    assert json.loads((tmp_path / 'new' / 'results.json').read_text()) == rows


def test_full_tables():
    tables = report.full_tables([{'ViLD': row(70, 40)}, {'ViLD': row(72, 44)}])
    lines = tables.splitlines()
    assert lines[0] == 'Seen designs, boxes, mean ± standard deviation over 2 seeds:'
    cells = [cell.strip() for cell in lines[4].strip('|').split('|')]
    assert cells[:5] == ['ViLD', '71.0 ± 1.4', '71.0 ± 1.4', '42.0 ± 2.8', '42.0 ± 2.8']
    assert sum('designs, masks' in line for line in lines) == 2


def test_what_is_not_known_is_in_no_mean():
    assert report.spread([1.0, 2.0, 4.5]) == '2.5 ± 1.8'
    assert report.spread([1.0, None, 4.0]) == report.spread([1.0, math.nan, 4.0]) == '2.5 ± 2.1'
    assert report.spread([None, 4.0]) == '4.0' and report.spread([None]) == ''
