# The runtime of the mini configs, counting iterations.
_base_ = './iter_runtime.py'

default_hooks = dict(checkpoint=dict(interval=200), logger=dict(interval=50))
