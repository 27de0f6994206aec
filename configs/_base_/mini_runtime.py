# The runtime, counting iterations.
_base_ = './default_runtime.py'

default_hooks = dict(
    # Two, because MMEngine removes the older one before it saves: a run killed then would lose all.
    checkpoint=dict(by_epoch=False, interval=200, max_keep_ckpts=2),
    logger=dict(interval=50),
)
log_processor = dict(by_epoch=False)
