# The runtime, counting iterations.
_base_ = './default_runtime.py'

default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=200, max_keep_ckpts=1),
    logger=dict(interval=50),
)
log_processor = dict(by_epoch=False)
