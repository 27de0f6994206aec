"""How settings are chosen; ``tests/end_to_end/test_additions.py`` has the detections."""

import choose
import numpy as np
import pytest
import torch
from mmengine.config import Config


def figures(novel: float, base: float) -> dict:
    return {metric: dict(novel=novel, base=base) for metric in ('AP', 'AP50', 'AP75')}


def test_search_goes_on_from_the_best_so_far() -> None:
    """Against all that the other settings could be: here each is best by itself."""
    asked = []

    def evaluate(setting: dict) -> dict:
        asked.append(dict(setting))
        worth = -((setting['a'] - 2) ** 2) - (setting['b'] - setting['a']) ** 2
        return figures(20 + worth, 30)

    chosen, tried = choose.search(evaluate, dict(a=0, b=0), dict(a=(0, 1, 2), b=(0, 1, 2)))
    assert chosen == dict(a=1, b=1)  # one after the other: not the best of all nine
    assert asked == [s for s, _ in tried]
    assert asked == [dict(a=a, b=b) for a, b in ((0, 0), (1, 0), (2, 0), (1, 1), (1, 2))]


def test_search_gives_no_point_of_base_away() -> None:
    values = {0: (20, 30), 1: (40, 28.9), 2: (25, 29.1), 3: (21, 32), 4: (20, 30)}
    chosen, _ = choose.search(
        lambda setting: figures(*values[setting['a']]), dict(a=0), dict(a=tuple(values))
    )
    assert chosen == dict(a=2)
    values = {0: (20, 30), 1: (20, 30)}  # no better: as it was
    chosen, _ = choose.search(
        lambda setting: figures(*values[setting['a']]), dict(a=0), dict(a=(0, 1))
    )
    assert chosen == dict(a=0)


def test_options_and_table() -> None:
    setting = dict(objectness_weight=0.2, partial=(0.8, 0.5), best=28, novel_weight=0.65)
    assert choose.cfg_options(setting) == (
        'model.test_cfg.rcnn.objectness_weight=0.2 model.test_cfg.rcnn.partial.overlap=0.8 '
        'model.test_cfg.rcnn.partial.score_ratio=0.5 model.best=28 model.novel_weight=0.65'
    )
    assert choose.cfg_options(dict(partial=None)) == 'model.test_cfg.rcnn.partial=None'
    lines = choose.table([(setting, figures(20.04, 30.06))]).splitlines()
    assert lines[0].startswith('| objectness_weight | partial | best | novel_weight | novel AP |')
    assert lines[2] == '| 0.2 | (0.8, 0.5) | 28 | 0.65 |' + ' 20.0 |' * 3 + ' 30.1 |' * 3
    assert {line.count('|') for line in lines} == {11}


def test_the_teacher_looks_at_a_crop_once() -> None:
    class Teacher:
        looked = []

        def embed_regions(self, images, boxes):
            self.looked += [box.tolist() for box in boxes[0]]
            return boxes[0] * 2

    known = {}
    boxes = torch.arange(20.0).view(5, 4)
    for rows in ([0, 1], [1, 2, 1], [], [4, 0]):
        found = choose.RememberingTeacher(Teacher(), known).embed_regions([None], [boxes[rows]])
        assert found.shape == (len(rows), 4) and torch.equal(found, boxes[rows] * 2)
    assert Teacher.looked == [boxes[i].tolist() for i in (0, 1, 2, 4)]


def test_pictures_reach_the_teacher_once() -> None:
    packing = dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape'))
    load = dict(type='LoadImageFromFile')
    given = dict(type='Set', pipeline=[load, dict(type='Resize'), packing])
    for _ in range(2):  # also where they do already
        given = choose.with_original(given)
        kinds = [step['type'] for step in given['pipeline']]
        assert kinds == ['LoadImageFromFile', 'KeepOriginalImage', 'Resize', 'PackDetInputs']
        assert given['pipeline'][-1]['meta_keys'] == ('img_id', 'ori_shape', 'ori_img')
    assert packing['meta_keys'] == ('img_id', 'ori_shape')


@pytest.mark.parametrize('arguments', [['--images', '0'], ['--best', '10', '-1']])
def test_wrong_arguments(arguments, capsys) -> None:
    with pytest.raises(SystemExit):
        choose.main(['config.py', 'checkpoint.pth', *arguments])
    assert '--images must be 1 or more, and --best not negative' in capsys.readouterr().err
    assert np.isfinite(choose.ALLOWED)


def test_another_detector_is_refused() -> None:
    """Its scores are made otherwise."""
    config = Config(dict(default_scope='mmdet', model=dict(type='CLIPOnCrops')))
    with pytest.raises(SystemExit, match='found a CLIPOnCrops'):
        choose.look(config, 'none.pth')
