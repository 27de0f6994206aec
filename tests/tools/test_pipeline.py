"""The folders of the demo's worlds."""

import argparse
from pathlib import Path

import pipeline
import pytest


def test_every_world_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """The seed, the name of the list and its content: none of them may be mixed up."""
    assert pipeline.world_name(0, None) == 'mini_lvis'
    assert pipeline.world_name(4, None) == 'mini_lvis_seed4'
    names = set()
    for i, folder in enumerate(('a', 'b')):
        (tmp_path / folder).mkdir()
        for name in ('mine', 'other'):
            file = tmp_path / folder / f'{name}.json'
            file.write_text(f'[{{"name": "owl", "frequency": "{"fr"[i]}"}}]')
            names |= {pipeline.world_name(seed, file) for seed in (0, 1)}
    assert len(names) == 8
    assert all(name.startswith(('mini_lvis_mine_', 'mini_lvis_other_')) for name in names)


def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match='no category list at .*absent.json'):
        pipeline.category_file(str(tmp_path / 'absent.json'))
    bad = tmp_path / 'bad.json'
    bad.write_text('["owl", "red dragon"]')
    with pytest.raises(argparse.ArgumentTypeError, match="bad.json: .*no drawing of 'red dragon'"):
        pipeline.category_file(str(bad))
    good = tmp_path / 'good.json'
    good.write_text('["owl", "saxophone"]')
    assert pipeline.category_file(str(good)) == good
    assert pipeline.seed('7') == 7
    for wrong in ('-1', '1.5', 'x'):
        with pytest.raises(argparse.ArgumentTypeError, match='a whole number of 0 or more, found'):
            pipeline.seed(wrong)
