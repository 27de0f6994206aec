"""What a run leaves in its work folder; tools that read it are run in tests/end_to_end."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmdet_vild.hooks import WorkDirConfigHook

pytestmark = pytest.mark.onedl


class Model(BaseModel):
    """One number."""

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs: list, mode: str = 'loss') -> dict:
        return dict(loss=self.number * sum(inputs))


def run(folder: Path, max_iters: int = 1, **config) -> Config:
    """Train by a config; returns what is left of it, in all places the same."""
    loader = dict(
        dataset=[dict(inputs=torch.ones(1))], sampler=dict(type='DefaultSampler'), batch_size=1
    )
    cfg = Config(dict(launcher='none', **config))
    object.__setattr__(cfg, '_filename', 'mine.py')
    runner = Runner(
        Model(),
        str(folder),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=False, max_iters=max_iters),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
        custom_hooks=[WorkDirConfigHook()],
        experiment_name=f'{folder.name}-{max_iters}',
        resume=config.get('resume', False),
        load_from=config.get('load_from'),
        cfg=cfg,
    )
    runner.train()
    left = Config.fromfile(folder / 'mine.py')
    (copy,) = folder.glob('*/vis_data/config.py')
    checkpoint = torch.load(folder / f'iter_{max_iters}.pth', weights_only=False)  # of this test
    saved = checkpoint['meta']['cfg']
    for text in (copy.read_text(), saved):
        assert Config.fromstring(text, '.py').to_dict() == left.to_dict()
    return left


def test_resuming_is_over_and_weights_to_begin_with_stay(tmp_path: Path) -> None:
    first = run(tmp_path / 'first')
    assert first.to_dict() == dict(launcher='none', resume=False)
    checkpoint = str(tmp_path / 'first' / 'iter_1.pth')
    resumed = run(tmp_path / 'resumed', 2, resume=True, load_from=checkpoint)
    assert resumed.to_dict() == dict(launcher='none', resume=False, load_from=None)
    tuned = run(tmp_path / 'tuned', load_from=checkpoint)
    assert tuned.to_dict() == dict(launcher='none', resume=False, load_from=checkpoint)
