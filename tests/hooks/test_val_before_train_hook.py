"""A validation before the first iteration."""

from types import SimpleNamespace

import pytest
import torch

from mmdet_vild.hooks import ValBeforeTrainHook

pytestmark = pytest.mark.onedl


CASES = [(0, True, 1), (5, True, 0), (0, False, 0)]


@pytest.mark.parametrize(('iteration', 'has_val', 'count'), CASES)
def test_once_and_not_in_a_resumed_run(iteration, has_val, count):
    model, runs = torch.nn.Linear(1, 1), []
    loop = SimpleNamespace(run=lambda: runs.append(model.eval())) if has_val else None
    ValBeforeTrainHook().before_train(SimpleNamespace(iter=iteration, val_loop=loop, model=model))
    assert len(runs) == count and model.training
