"""What mmdet's tools offer for any model: compilation, mixed precision, gradient checkpointing."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from stock_world import StockWorld

pytestmark = pytest.mark.slow


def test_compile(world: StockWorld) -> None:
    """``compile=True`` with another backend than the default, which compiles for minutes."""
    world.train('vild', 'compiled', 'compile.backend=eager', 'train_cfg.max_iters=1')
    (iteration, _) = world.logged('compiled')
    assert math.isfinite(iteration['loss']) and 'loss_distill' in iteration


@pytest.mark.gpu
def test_mixed_precision(world: StockWorld) -> None:
    """MMEngine's AmpOptimWrapper runs on accelerators only."""
    world.train('vild', 'amp', arguments=['--amp'], env={'CUDA_VISIBLE_DEVICES': '0'})
    for iteration in world.logged('amp')[:2]:
        assert all(math.isfinite(v) for k, v in iteration.items() if 'loss' in k)


def test_gradient_checkpointing() -> None:
    """Gradients of the backbone are those without it."""
    register_all_modules()
    config = Config.fromfile(StockWorld.config('mask-rcnn')).model.backbone
    config.norm_eval = True  # running statistics would be updated twice
    images = torch.rand(2, 3, 64, 64)
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        backbone = MODELS.build(dict(config, with_cp=with_cp))
        backbone.train()  # mmdet's returns nothing
        sum(level.square().mean() for level in backbone(images)).backward()
        gradients.append({name: p.grad for name, p in backbone.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0])
