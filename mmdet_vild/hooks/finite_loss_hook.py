"""Stops a training whose loss is NaN or infinite, and says which part of it."""

import math

from mmdet.engine.hooks import CheckInvalidLossHook
from mmdet.registry import HOOKS
from mmengine.runner import Runner

from mmdet_vild.options import Count, checked_options


@HOOKS.register_module()
@checked_options
class FiniteLossHook(CheckInvalidLossHook):
    """mmdet's ``CheckInvalidLossHook``, which names the parts that are not finite.

    It looks at every iteration: one later, all weights and so all parts are NaN. MMEngine's log
    waits for these numbers anyway. The run stops before a checkpoint is written.

    Args:
        interval: Look at every so many iterations; checkpoints of those between may be NaN.

    Raises:
        FloatingPointError: The loss is NaN or infinite.
    """

    def __init__(self, interval: Count = 1) -> None:
        super().__init__(interval)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Look at the losses of the iteration, which are scalars."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        if math.isfinite(outputs['loss'].item()):
            return
        parts = {k: v.item() for k, v in outputs.items() if 'loss' in k and k != 'loss'}
        wrong = [f'{k} is {v}' for k, v in parts.items() if not math.isfinite(v)]
        fine = [f'{k} is {v:.4g}' for k, v in parts.items() if math.isfinite(v)]
        sound = runner.iter + 1 - self.interval
        raise FloatingPointError(
            f'the loss is not finite in iteration {runner.iter + 1}: '
            f'{", ".join(wrong) or "the sum of all"}, while {", ".join(fine) or "no part is"}; '
            f'checkpoints up to iteration {sound} are sound. The usual causes are a learning rate '
            'too high for the batch (--auto-scale-lr) and gradients without a limit '
            '(optim_wrapper.clip_grad.max_norm=10)'
        )
