"""The rows of ViLD+'s tables, and what is said of them."""

import argparse
from pathlib import Path

import ablation
import pipeline
import pytest
import report
from config_files import read
from mmengine.config import Config, DictAction


def config_of(row: ablation.Row) -> Config:
    """The config that the stock test tool makes of a row."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    config = Config(read(f'mini_lvis/{row.config}_lite0_fpn_mini-lvis.py').to_dict())
    if options := row.options:
        config.merge_from_dict(vars(parser.parse_args(['--cfg-options', *options]))['cfg_options'])
    return config


ALL = (*ablation.plus_rows(), *ablation.region_rows(), *ablation.gkc_rows())
ROWS = {row.name: row for row in ALL}


def test_rows_of_the_ensemble_are_those_of_its_config() -> None:
    """Options on ViLD's configs make the ensemble, with each addition of the one that has all."""
    ensemble, everything = config_of(ROWS['vild-ensemble']), config_of(ROWS['vild-all']).model
    partial = config_of(ROWS['vild-ensemble-partial'])
    assert partial.model.test_cfg.rcnn.pop('partial') == dict(overlap=0.8, score_ratio=0.5)
    assert partial.model == ensemble.model
    alone = [config_of(ROWS[f'vild-ensemble-{short}']) for short in ('sigmoid', 'oln', 'iou')]
    for config in alone:
        head = config.model.roi_head.bbox_head
        assert head.type == 'ViLDEnsembleBBoxHead' and head.ensemble_weight == 0.83
    assert alone[1].train_dataloader == config_of(ROWS['vild-all']).train_dataloader
    sigmoid, oln, iou = (config.model for config in alone)
    head = everything.roi_head.bbox_head
    assert sigmoid.roi_head.bbox_head.cls_predictor_cfg.bias == -10
    for of in ('cls_predictor_cfg', 'loss_cls'):
        assert sigmoid.roi_head.bbox_head[of] == head[of] != iou.roi_head.bbox_head[of]
    assert oln.rpn_head == everything.rpn_head != sigmoid.rpn_head
    assert oln.train_cfg == everything.train_cfg
    assert iou.roi_head.bbox_head.loss_iou == head.loss_iou


@pytest.mark.parametrize('name', ['vild-plus', 'vild-plus-teacher'])
def test_rows_of_vild_plus(name: str) -> None:
    """Its training is that of the row whose checkpoint it takes."""
    plus, trained = config_of(ROWS[name]), config_of(ROWS[ROWS[name].checkpoint])
    assert ROWS[name].checkpoint == 'vild-ensemble-iou'
    for part in ('train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert plus[part] == trained[part]
    assert plus.model.test_cfg.rcnn.pop('objectness_weight') == 0.1
    assert plus.model.roi_head.bbox_head.pop('iou_weight') == 0.65
    if name.endswith('teacher'):
        added = {key: plus.model.pop(key) for key in ('best', 'base_weight', 'novel_weight')}
        assert added == dict(best=50, base_weight=0.35, novel_weight=0.65)
        assert plus.model.pop('type') == 'TeacherScoredViLD' and trained.model.pop('type')
    assert plus.model == trained.model


def test_one_addition_a_row() -> None:
    """Each row differs from its base in what its title says, and in nothing else."""
    base = config_of(ROWS['vild'])
    weighted = config_of(ROWS['vild-objectness'])
    assert weighted.model.test_cfg.rcnn.pop('objectness_weight') > 0
    assert weighted.model == base.model
    looking = config_of(ROWS['vild-teacher']).model
    assert looking.pop('type') == 'TeacherScoredViLD' and looking.pop('best') == 50
    own = {k: v for k, v in base.model.items() if k != 'type'}
    assert {k: v for k, v in looking.items() if not k.endswith('_weight')} == own
    for count in (5, 10):
        fewer = config_of(ROWS[f'vild-regions-{count}'])
        step = fewer.train_dataloader.dataset.pipeline[3]
        assert step.max_proposals == count and step.order == 'random'
        step.max_proposals = 20
        assert fewer.train_dataloader == base.train_dataloader and fewer.model == base.model
    drawn = config_of(ROWS['vild-synonyms']).model
    assert drawn.roi_head.bbox_head.cls_predictor_cfg.pop('synonyms') == 'random'
    assert drawn == base.model
    guided = config_of(ROWS['vild-text-guided']).model
    assert guided.roi_head.pop('distill_loss').type == 'TextGuidedDistillLoss'
    base.model.roi_head.pop('distill_loss')
    assert guided == base.model


def test_names_and_titles_are_distinct() -> None:
    rows = ablation.plus_rows()
    assert len({row.name for row in rows}) == len({row.title for row in rows}) == len(rows) == 19
    known = {row.name for row in rows}
    assert {row.checkpoint for row in rows if row.checkpoint} < known
    # A training anew, and ViLD-text with OLN's RPN before them.
    trained = [r.name for r in rows if not r.checkpoint and r.name not in pipeline.TRAINED.values()]
    assert len(trained) == 7
    assert {row.title for row in ablation.plus_rows(['ViLD'])} == {
        row.title for row in rows if not row.title.startswith(('ViLD-ensemble', 'ViLD+'))
    }


class Recorded:
    """A world that notes what was done before each test."""

    def __init__(self, work: Path, tested: dict, done: tuple[str, ...] = ()) -> None:
        self.work = self.data = work
        self.tested, self.done = tested, done

    def fork(self) -> 'Recorded':
        return Recorded(self.work, self.tested, self.done)

    def train(self, method: str, name: str | None = None, options=()) -> None:
        self.done += (f'train {name or method}',)

    def extract(self, *args, **kwargs) -> None:
        self.done += ('extract',)

    def test(self, method: str, checkpoint: str, name: str, options: tuple[str, ...]) -> Path:
        self.tested[name] = (method, checkpoint, options, self.done)
        (self.work / f'{name}-test').mkdir()
        (self.work / f'{name}-test' / 'config.py').touch()
        return self.work / f'{name}-test'

    def checkpoint(self, name: str) -> Path:
        return self.work / name


def test_what_goes_before_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own training, or that of its checkpoint; of OLN's regions what proposes them; no more."""
    for method in ('vild-text', 'vild'):  # the demo's
        (tmp_path / f'{method}-test').mkdir()
        (tmp_path / f'{method}-test' / 'config.py').touch()

    def evaluated(data: Path, folder: Path) -> dict:
        return {title: dict(bbox={}) for title in report.TEST_SETS}

    monkeypatch.setattr(report, 'evaluate_method', evaluated)
    timed = []
    monkeypatch.setattr(ablation, 'milliseconds', lambda *arguments: timed.append(arguments) or 5)
    tested: dict[str, tuple] = {}
    rows = ablation.plus_rows()
    ablation.run(Recorded(tmp_path, tested), rows, timed=True)
    new = [row for row in rows if row.name != 'vild']
    assert list(tested) == [row.name for row in new]
    for row in new:
        trained = row.checkpoint or row.name
        # ViLD is trained before all of this.
        before = () if trained == 'vild' else (f'train {trained}',)
        if trained.endswith('-oln') or trained == 'vild-all':
            before = ('train vild-plus-text', 'extract', *before)
        assert tested[row.name] == (row.config, trained, row.options, before)
    checkpoints = [checkpoint.name for _, checkpoint in timed]
    assert checkpoints == [row.checkpoint or row.name for row in rows]
    few, timed[:] = ablation.gkc_rows()[:1], []
    assert ablation.TIME not in str(ablation.run(Recorded(tmp_path, {}), few, timed=False))
    assert not timed


def row(novel: float, base: float) -> dict:
    groups = dict(novel=novel, base=base)
    boxes = dict.fromkeys(('AP', 'AP50', 'AP75'), groups) | {ablation.TIME: dict(all=12.34)}
    return dict.fromkeys(report.TEST_SETS, dict(bbox=boxes))


def test_tables() -> None:
    per_seed = [
        {'ViLD-ensemble': row(20, 30), 'ViLD+': row(26, 29.5)},
        {'ViLD-ensemble': row(25, 32), 'ViLD+': row(24, 33)},
    ]
    text = ablation.tables('plus', per_seed)
    assert '| ViLD+ | 25.0 ± 1.4 | 25.0 ± 1.4 | 25.0 ± 1.4 | 31.2 ± 2.5 |' in text
    assert text.count('| 12.3 ± 0.0 |\n') == 4
    assert '| ViLD+ | x 1.30, x 0.96 | -0.5, +1.0 | x 1.30, x 0.96 | -0.5, +1.0 |' in text
    assert 'against' not in ablation.tables('regions', per_seed)
    nothing = [{'ViLD-ensemble': row(0, 30), 'ViLD+': row(26, 29.5)}]
    assert '| ViLD+ | - | -0.5 | - | -0.5 |' in ablation.tables('plus', nothing)


def test_a_fork_goes_on_by_itself(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """A fork's steps do not disturb those of another, and have its data."""

    def run(order: str) -> None:
        world = pipeline.World(0, None, tmp_path / 'data', tmp_path / 'work')
        world.steps.run('first', ['sh', '-c', f'touch {tmp_path}/first'], [tmp_path / 'first'])
        for name in order:
            fork = world.fork(tmp_path / name)
            out = tmp_path / f'{name}.txt'
            fork.steps.run(name, ['sh', '-c', f'echo $MINI_LVIS >> {out}'], [out])

    run('ab')
    run('cba')  # neither another before them nor another order makes them run again
    assert capfd.readouterr().out.count('already done') == 3
    for name in 'abc':
        assert (tmp_path / f'{name}.txt').read_text() == f'{tmp_path / name}\n'
