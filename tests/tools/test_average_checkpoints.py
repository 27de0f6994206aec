"""Weights between those of two checkpoints."""

import re

import average_checkpoints
import pytest
import torch
from mmengine.runner import load_checkpoint

pytestmark = pytest.mark.onedl

DIGEST = 'head.fc_cls.teacher_digest'


def state(seed: int) -> dict:
    """Of a linear layer, a norm, and what a classifier remembers of its teacher."""
    generator = torch.Generator().manual_seed(seed)
    return {
        '0.weight': torch.randn(3, 4, generator=generator),
        '0.bias': torch.randn(3, generator=generator).half(),
        '1.running_mean': torch.randn(3, generator=generator),
        '1.num_batches_tracked': torch.tensor(seed),
        DIGEST: torch.arange(32, dtype=torch.uint8),
    }


@pytest.mark.parametrize('weight', [0.0, 0.3, 1.0])
def test_every_weight_is_between_its_two(tmp_path, capsys, weight) -> None:
    """Of a file that MMEngine loads; what only counts is of the later one, as is what is told."""
    files = [str(tmp_path / name) for name in ('before.pth', 'after.pth', 'new/averaged.pth')]
    for seed, file in enumerate(files[:2], 1):
        content = dict(state_dict=state(seed), meta=dict(epoch=seed), optimizer=dict(lr=seed))
        torch.save(content, file)
    average_checkpoints.main([*files[:2], '--out', files[2], '--weight', str(weight)])
    assert f'{weight:g} of {files[1]}, {1 - weight:g} of {files[0]}' in capsys.readouterr().out
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    found = load_checkpoint(model, files[2], map_location='cpu')
    assert set(found) == {'meta', 'state_dict'} and found['meta'] == dict(epoch=2)
    found, (one, other) = found['state_dict'], (state(1), state(2))
    assert set(found) == set(one)
    for key, value in found.items():
        assert value.dtype == one[key].dtype
        expected = (1 - weight) * one[key].double() + weight * other[key].double()
        if key != '1.num_batches_tracked':
            atol = 1e-3 if value.dtype == torch.half else 1e-6
            torch.testing.assert_close(value.double(), expected, rtol=0, atol=atol)
    assert found['1.num_batches_tracked'] == 2
    torch.testing.assert_close(model[0].weight, found['0.weight'])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'0.weight': torch.ones(3, 5)}, 'different networks: 1 weights .*, 0.weight; average'),
        ({'2.weight': torch.ones(1)}, 'different networks: 1 weights .*, 2.weight; average'),
        ({DIGEST: torch.ones(32, dtype=torch.uint8)}, 'with words of different teachers'),
    ],
)
def test_other_networks_are_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        average_checkpoints.average(state(1), state(2) | changes, 0.5)


def test_what_a_converted_checkpoint_lacks_is_the_later_ones() -> None:
    before, after = state(1), state(2)
    del before['1.num_batches_tracked'], before[DIGEST]
    found = average_checkpoints.average(before, after, 0.5)
    assert found['1.num_batches_tracked'] == 2 and torch.equal(found[DIGEST], after[DIGEST])
    assert set(found) == set(after)


def test_no_words_are_averaged() -> None:
    baked = {'head.vocabulary_json': torch.ones(4, dtype=torch.uint8)}
    with pytest.raises(ValueError, match='have their vocabularies in them; average those that'):
        average_checkpoints.average(state(1) | baked, state(2) | baked, 0.5)
    with pytest.raises(ValueError, match='hold no weights'):
        average_checkpoints.average({}, {}, 0.5)


@pytest.mark.parametrize(
    ('after', 'options', 'message'),
    [
        ('none.pth', [], 'there is no checkpoint at .*none.pth'),
        ('before.pth', ['--weight', '1.5'], '--weight must be from 0 to 1, found 1.5'),
        ('before.pth', ['--out', 'before.pth'], '--out .* would overwrite .*before.pth'),
        ('other.pth', [], 'of different networks: 3 weights'),
    ],
)
def test_refused_on_the_command_line(
    tmp_path, monkeypatch, capsys, after, options, message
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict=state(1)), 'before.pth')
    torch.save(dict(state_dict={}), 'other.pth')
    with pytest.raises(SystemExit):
        average_checkpoints.main(['before.pth', after, '--out', 'out.pth', *options])
    assert re.search(message, capsys.readouterr().err) and not (tmp_path / 'out.pth').exists()
