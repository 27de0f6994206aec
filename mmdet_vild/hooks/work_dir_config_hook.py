"""The config that a run leaves in its work folder can be used as it is."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class WorkDirConfigHook(Hook):
    """Writes the run's config once more, without what the command line said of this one run.

    MMDetection's tools write their arguments into the config in the work folder and in checkpoints.
    Given that config, they fail by the launcher (``KeyError: 'RANK'``), ``resume``, or the model of
    ``--tta``.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Neither launcher nor resuming; weights that a config begins with stay."""
        self._write(runner, dict(load_from=None) if runner.cfg.get('resume') else {})

    def before_test(self, runner: Runner) -> None:
        """Nor the checkpoint, nor test-time augmentation."""
        changes, cfg = dict(load_from=None), runner.cfg
        if cfg.get('tta_model') and cfg.model.type == cfg.tta_model.type:
            cfg.model = cfg.model.module
            if cfg.get('test_pipeline'):
                cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
        self._write(runner, changes)

    @staticmethod
    def _write(runner: Runner, changes: dict) -> None:
        runner.cfg.update(dict(launcher='none', resume=False, **changes))
        runner.dump_config()
        runner.visualizer.add_config(runner.cfg)
