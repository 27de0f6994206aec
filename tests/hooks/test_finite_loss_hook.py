"""A training stops where its loss is not finite."""

from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmdet_vild.hooks import FiniteLossHook

pytestmark = pytest.mark.onedl


class Model(BaseModel):
    """One number, and losses that are what the data says."""

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.ones(()))

    def forward(self, box: list, distill: list, mode: str = 'loss') -> dict:
        return dict(
            loss_box=self.number * box[0],
            loss_distill=[self.number * part for part in distill],
            acc=torch.tensor(float('nan')),  # which is none
        )


def train(folder: Path, *samples: dict, interval: int = 1) -> None:
    Runner(
        Model(),
        str(folder),
        train_dataloader=dict(
            dataset=[{key: torch.tensor(value) for key, value in s.items()} for s in samples],
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1,
        ),
        train_cfg=dict(by_epoch=False, max_iters=len(samples)),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
        custom_hooks=[FiniteLossHook(interval)],
        experiment_name=folder.name,
    ).train()


FINE = dict(box=2.0, distill=1.0)


@pytest.mark.parametrize('value', ['nan', 'inf', '-inf'])
@pytest.mark.parametrize('part, other', [('box', 'distill'), ('distill', 'box')])
def test_the_part_is_named(tmp_path: Path, value: str, part: str, other: str) -> None:
    """In the very iteration, before weights are written."""
    wrong = FINE | {part: float(value)}
    message = f'in iteration 2: loss_{part} is {value}, while loss_{other} is '
    with pytest.raises(FloatingPointError, match=message):
        train(tmp_path, FINE, wrong, FINE)
    assert (tmp_path / 'iter_1.pth').exists() and not (tmp_path / 'iter_2.pth').exists()


def test_a_sum_that_overflows(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match='the sum of all, while loss_box is 3e.38'):
        train(tmp_path, dict(box=3e38, distill=3e38))


def test_names_what_is_sound(tmp_path: Path) -> None:
    """Where it looks at every third iteration, checkpoints since the last look are not known."""
    samples = [FINE] * 4 + [FINE | dict(box=float('nan'))] * 2
    with pytest.raises(FloatingPointError, match='6: .*; checkpoints up to iteration 3 are sound'):
        train(tmp_path, *samples, interval=3)
    assert torch.load(tmp_path / 'iter_3.pth', weights_only=False)['state_dict'][
        'number'
    ].isfinite()
    assert not torch.load(tmp_path / 'iter_5.pth', weights_only=False)['state_dict'][
        'number'
    ].isfinite()
