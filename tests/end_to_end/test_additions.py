"""ViLD+'s ablation, the choice on val and the fine-tuning, on detectors that hardly learn."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import ablation
import choose
import finetune
import numpy as np
import pipeline
import pytest
import report
import torch
from mmengine.config import Config
from stock_world import OPTIONS, StockWorld

from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.slow
#: The pipeline counts the categories itself.
SHORT = tuple(option for option in OPTIONS if 'num_classes' not in option)
NAMES = ('vild', 'vild-partial', 'vild-teacher', 'vild-ensemble-iou', 'vild-all', 'vild-plus')


@pytest.fixture(scope='module')
def made(
    world: StockWorld, vild: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pipeline.World]:
    """A world where ViLD is trained and tested, as the demo leaves it; tools start at once."""
    root = tmp_path_factory.mktemp('ablation')
    shutil.copytree(world.data, root / 'data', symlinks=True)
    learned = dict(learned=dict(logit_scale=20.0))
    (root / 'data' / 'vild' / 'teacher.json').write_text(json.dumps(learned))
    (root / 'work' / 'vild').mkdir(parents=True)
    (root / 'work' / 'vild' / 'last_checkpoint').write_text(str(vild))
    drawn = ('--drawings', str(world.root / 'drawings'), '--workers', '1', '--image-size', '128')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'executable', str(programs / 'python'))
        patch.setattr(pipeline, 'PROCESSES', 1)
        patch.setattr(ablation, 'TIMED', 2)
        made = pipeline.World(0, None, root / 'data', root / 'work', SHORT, drawn)
        made.test('vild')
        yield made


@pytest.fixture(scope='module')
def rows(made: pipeline.World) -> dict[str, dict]:
    """The figures of some rows; the steps of each are run."""
    chosen = [row for row in ablation.plus_rows() if row.name in NAMES]
    assert [row.name for row in chosen] == list(NAMES)
    return ablation.run(made, chosen, timed=True)


def detections(made: pipeline.World, name: str) -> list[dict]:
    rows = json.loads((made.work / f'{name}-test' / 'results.bbox.json').read_text())
    return in_order(rows)


def in_order(rows: list[dict]) -> list[dict]:
    return sorted(rows, key=lambda row: (row['image_id'], row['category_id'], row['bbox']))


def test_ablation(made, rows, capfd) -> None:
    """Additions of tests have no training; OLN's regions are its own; all else is as titled."""
    trained = {folder.parent.name for folder in made.work.glob('*/last_checkpoint')}
    assert trained == {'vild', 'vild-plus-text', 'vild-ensemble-iou', 'vild-all'}
    own = made.data / 'vild' / 'oln/regions'
    images = [EmbeddingStore(f).img_ids() for f in (own, own.parents[1] / 'regions')]
    assert sorted(images[0]) == sorted(images[1])
    config = Config.fromfile(next((made.work / 'vild-all').glob('*.py')))
    (attaching,) = (step for step in config.train_dataloader.dataset.pipeline if 'store' in step)
    assert attaching.store.path == str(own)
    checkpoint = torch.load(made.checkpoint('vild-all'), weights_only=False)['state_dict']
    assert {f'roi_head.bbox_head.fc_{of}.bias' for of in ('cls', 'iou')} < set(checkpoint)
    # What is dropped is a part of what was there; the teacher's word changes scores.
    plain, fewer, named = (detections(made, name) for name in NAMES[:3])
    plain, fewer = ({(row['score'], *row['bbox']) for row in each} for each in (plain, fewer))
    assert fewer < plain
    assert not plain >= {(row['score'], *row['bbox']) for row in named}
    for figures in rows.values():
        for title in report.TEST_SETS:
            assert 0 < figures[title]['bbox'][ablation.TIME]['all'] < 60_000
            assert set(figures[title]['bbox']) == {'AP', 'AP50', 'AP75', ablation.TIME}
    capfd.readouterr()
    chosen = [row for row in ablation.plus_rows() if row.name == 'vild-all']
    # As a new process would see it.
    later = pipeline.World(0, None, made.data, made.work, SHORT, made.sizes)
    later.test('vild')
    again = ablation.run(later, chosen, timed=False)
    assert capfd.readouterr().out.count('already done') == 5
    title = chosen[0].title
    one, other = (json.dumps(each[title]['seen designs']['segm']) for each in (again, rows))
    assert one == other  # as text: NaN differs from itself


@pytest.mark.parametrize(
    ('name', 'setting'),
    [
        ('vild', {}),
        ('vild-partial', dict(partial=(0.8, 0.5))),
        ('vild-teacher', dict(best=50, novel_weight=0.8, base_weight=0.65)),
        ('vild-all', None),
    ],
)
def test_what_is_chosen_from_is_what_a_test_gives(made, rows, name, setting, monkeypatch) -> None:
    """The detections of the stock tool, for settings of a detector that has looked once."""
    monkeypatch.setattr(choose, 'BATCH_SIZE', 1)  # as the tests here have it: all is the same
    trained = 'vild' if setting is not None else name
    config = Config.fromfile(next((made.work / f'{trained}-test').glob('*.py')))
    config.val_dataloader.dataset.ann_file = 'annotations/lvis_v1_test_and_unseen.json'
    model, seen = choose.look(config, str(made.checkpoint(trained)))
    if setting is not None:
        # There and back again: nothing is left of a setting.
        model.change(model.setting() | dict(best=5, novel_weight=1.0, objectness_weight=0.5))
        choose.result_rows(model, seen[0], range(1, 6))
        start = dict(best=0, objectness_weight=0.0, partial=None)
        model.change(start | setting)
    found = [row for each in seen for row in choose.result_rows(model, each, range(1, 6))]
    found, expected = in_order(found), detections(made, name)
    for key, atol in dict(image_id=0, category_id=0, score=1e-6, bbox=1e-3).items():
        values = [[row[key] for row in each] for each in (found, expected)]
        np.testing.assert_allclose(*values, rtol=1e-5, atol=atol)


def test_choose(made, rows, capsys) -> None:
    config = next((made.work / 'vild-all-test').glob('*.py'))
    choose.main([str(config), str(made.checkpoint('vild-all')), '--images', '2'])
    printed = capsys.readouterr().out
    header, _, first, *_ = printed[printed.index('| ensemble_weight') :].splitlines()
    assert header.startswith('| ensemble_weight | iou_weight | objectness_weight | partial | best ')
    assert first.startswith('| 0.83 | 0.5 | 0 | None | 0 | ')
    assert 'The best, of 2 pictures: ' in printed
    # All of each, but for the value that it begins with.
    names = ('ensemble_weight', 'iou_weight', 'objectness_weight', 'partial')
    values = [(name, value) for name in names for value in choose.SETTINGS[name][1]]
    at_first = (
        ('ensemble_weight', 0.83),
        ('iou_weight', 0.5),
        ('objectness_weight', 0.0),
        ('partial', None),
    )
    assert printed.count('\n| ') == 2 + len(values) - len(at_first)


def test_finetune(made, vild, monkeypatch) -> None:
    """Own words alone are annotated and learned, from ViLD on; all words are tested."""
    chosen = {t: v for t, v in finetune.VARIANTS.items() if t in ('distillation, rivals',)}
    monkeypatch.setattr(finetune, 'VARIANTS', chosen)
    before = json.loads((made.data / 'categories.json').read_text())
    rows = finetune.run(made, kinds=1, pictures=6)
    own = made.data.with_name('data_own')
    (category,) = json.loads((own / 'categories.json').read_text())
    (old,) = (old for old in before if old['name'] == category['name'])
    assert old['frequency'] == 'r' and category['frequency'] == 'f'
    content = json.loads((own / 'annotations' / 'lvis_v1_train.json').read_text())
    assert len(content['images']) == 6
    assert {a['category_id'] for a in content['annotations']} == {category['id']}
    assert sorted(EmbeddingStore(own / 'vild' / 'regions').img_ids()) == [1, 2, 3, 4, 5, 6]
    words = TextEmbeddings.load(str(own / 'vild' / 'text.npz'))
    assert list(words.names) == [category['name']] and not words.novel.any()

    name = 'own-distillation-rivals'
    config = Config.fromfile(next((made.work / name).glob('*.py')))
    head = config.model.roi_head.bbox_head
    assert head.num_classes == 1 and config.model.roi_head.distill_loss
    assert head.cls_predictor_cfg.text_embeddings == f'{own}/vild/text.npz'
    assert head.cls_predictor_cfg.rivals == str(made.data / 'vild' / 'text.npz')
    key = 'roi_head.bbox_head.fc_cls.projection.weight'
    one, other = (
        torch.load(file, weights_only=False)['state_dict'][key]
        for file in (vild, made.checkpoint(name))
    )
    assert 0 < (one - other).abs().max() < 1e-3 < one.std()
    config = Config.fromfile(next((made.work / f'{name}-test').glob('*.py')))
    assert config.model.roi_head.bbox_head.num_classes == 5
    assert 'rivals' not in config.model.roi_head.bbox_head.cls_predictor_cfg
    between = torch.load(made.checkpoint(f'{name}-averaged'), weights_only=False)['state_dict'][key]
    torch.testing.assert_close(between, (one + other) / 2, rtol=0, atol=1e-7)
    assert list(rows) == ['before', 'distillation, rivals', 'distillation, rivals, averaged']
    for figures in rows.values():
        assert set(figures['seen designs']['bbox']['AP']) == {'own', 'base', 'novel'}
