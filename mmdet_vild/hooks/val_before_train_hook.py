"""Validates what a training begins with."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class ValBeforeTrainHook(Hook):
    """Runs the validation before the first iteration, to compare with; not in a resumed run."""

    priority = 'VERY_LOW'

    def before_train(self, runner: Runner) -> None:
        """Validate."""
        if runner.iter == 0 and runner.val_loop is not None:
            runner.val_loop.run()
            runner.model.train()
