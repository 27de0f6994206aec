"""Resume from a checkpoint without executing a config that is in it.

For: every mmengine of both families. ``Runner.resume`` executes ``meta['config']``, which
MMDetection 2 wrote and MMEngine does not, to read the number of GPUs out of it; so a stranger's
checkpoint could execute anything. Here that entry is dropped when a runner loads a checkpoint.
(``meta['cfg']``, which MMEngine writes, is text that a runner only passes on.)
"""

import functools

from mmengine.runner import Runner


def apply() -> None:
    """Patch the loading of checkpoints by MMEngine's runner, once."""
    if hasattr(Runner.load_checkpoint, '__wrapped__'):
        return
    load = Runner.load_checkpoint

    @functools.wraps(load)
    def load_checkpoint(self, *args, **kwargs):
        checkpoint = load(self, *args, **kwargs)
        if isinstance(meta := checkpoint.get('meta'), dict):
            meta.pop('config', None)
        return checkpoint

    Runner.load_checkpoint = load_checkpoint
