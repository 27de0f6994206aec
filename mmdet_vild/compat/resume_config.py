"""Resume from a checkpoint without executing a config that is in it.

For: every mmengine of both families. ``Runner.resume`` executes ``meta['config']``, which
MMDetection 2 wrote and MMEngine does not, to read the number of GPUs out of it; so a stranger's
checkpoint could execute anything. Here that entry is dropped when a runner loads a checkpoint.
(``meta['cfg']``, which MMEngine writes, is text that a runner only passes on.)
"""

from mmengine.runner import Runner

from .wrapping import wrap


def apply() -> None:
    """Patch the loading of checkpoints by MMEngine's runner."""
    wrap(Runner, 'load_checkpoint', without_config)


def without_config(load, self, *args, **kwargs) -> dict:
    """``Runner.load_checkpoint``, without what it would execute."""
    checkpoint = load(self, *args, **kwargs)
    if isinstance(meta := checkpoint.get('meta'), dict):
        meta.pop('config', None)
    return checkpoint
