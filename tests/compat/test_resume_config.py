"""Resuming executes nothing that is in a checkpoint."""

from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner

import mmdet_vild  # noqa: F401

pytestmark = pytest.mark.onedl


class Model(BaseModel):
    """One number."""

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs: list, mode: str = 'loss') -> dict:
        return dict(loss=self.number * sum(inputs))


def train(work_dir: Path, max_iters: int, **options) -> Runner:
    data, sampler = [dict(inputs=torch.ones(1))], dict(type='DefaultSampler')
    runner = Runner(
        *(Model(), str(work_dir)),
        train_dataloader=dict(dataset=data, sampler=sampler, batch_size=1),
        train_cfg=dict(by_epoch=False, max_iters=max_iters),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
        experiment_name=f'{work_dir.name}-{max_iters}',
        **options,
    )
    runner.train()
    return runner


def test_a_config_in_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    train(tmp_path / 'first', 1)
    checkpoint = torch.load(tmp_path / 'first' / 'iter_1.pth', weights_only=False)  # of this test
    code = f'marker = open({str(tmp_path / "executed")!r}, "w").name'
    checkpoint['meta'].update(config=code, cfg=code)
    torch.save(checkpoint, tmp_path / 'changed.pth')
    resumed = train(tmp_path / 'second', 2, load_from=str(tmp_path / 'changed.pth'), resume=True)
    assert resumed.iter == 2 and (tmp_path / 'second' / 'iter_2.pth').exists()
    assert not (tmp_path / 'executed').exists()
