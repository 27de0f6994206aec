# The runtime, counting iterations.
_base_ = './default_runtime.py'

# Two, because MMEngine removes the older one before it saves: a run killed then would lose all.
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10000, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
