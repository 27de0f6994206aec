"""Run distributed training and testing on CPU.

For: every mmengine of both families, with a CUDA-built torch on a machine without an
accelerator. MMEngine selects a CUDA device and names device ids to
``DistributedDataParallel`` even when the backend is gloo; both raise an error there.
Nor does it end the process group, so that now and then a finished process aborts with
"terminate called without an active exception": a thread of gloo frees a tensor while the
interpreter is being torn down (https://github.com/pytorch/pytorch/pull/179291).
The patches act only where no accelerator is found, and the first only for gloo.
"""

import atexit
import functools
import gc

from mmengine.device import get_device
from mmengine.dist import utils as dist_utils
from mmengine.model import MMDistributedDataParallel
from torch import distributed as torch_dist


def needed() -> bool:
    """Return whether this machine has no accelerator, and is not patched yet."""
    return get_device() == 'cpu' and not hasattr(dist_utils._init_dist_pytorch, '__wrapped__')


def end_process_group() -> None:
    """End torch's process groups, if that has not been done."""
    # MMEngine's runner is part of reference cycles and still holds the wrapped model, which holds
    # the process group, whose threads end only when it is freed.
    gc.collect()
    if torch_dist.is_initialized():
        torch_dist.destroy_process_group()


def apply() -> None:
    """Patch MMEngine's start of gloo and its model wrapper, where it is needed."""
    if not needed():
        return
    init_dist = dist_utils._init_dist_pytorch
    init_wrapper = MMDistributedDataParallel.__init__

    @functools.wraps(init_dist)
    def init_dist_without_device(backend, init_backend='torch', **kwargs):
        if backend == 'gloo' and init_backend == 'torch':
            torch_dist.init_process_group(backend=backend, **kwargs)
            atexit.register(end_process_group)
        else:
            init_dist(backend, init_backend=init_backend, **kwargs)

    @functools.wraps(init_wrapper)
    def init_wrapper_without_device_ids(self, module, *args, **kwargs):
        kwargs.pop('device_ids', None)
        init_wrapper(self, module, *args, **kwargs)

    dist_utils._init_dist_pytorch = init_dist_without_device
    MMDistributedDataParallel.__init__ = init_wrapper_without_device_ids
