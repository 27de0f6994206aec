"""Run distributed training and testing on CPU.

For: every mmengine of both families, with a CUDA-built torch on a machine without an accelerator.
MMEngine selects a CUDA device, started by torch's launcher or by Slurm, and names device ids to
``DistributedDataParallel``, even when the backend is gloo; both raise an error there. Nor does it
end the process group, so that now and then a finished process aborts with "terminate called without
an active exception" (https://github.com/pytorch/pytorch/pull/179291). The patches act only where no
accelerator is found, and the first only for gloo.
"""

import atexit
import gc
import time

import torch
from mmengine.device import get_device
from mmengine.dist import utils as dist_utils
from mmengine.model import MMDistributedDataParallel
from torch import distributed as torch_dist

from .wrapping import wrap


def apply() -> None:
    """Patch MMEngine's starts of gloo and its model wrapper."""
    if get_device() == 'cpu':
        wrap(dist_utils, '_init_dist_pytorch', without_device)
        wrap(dist_utils, '_init_dist_slurm', without_device)
        wrap(MMDistributedDataParallel, '__init__', without_device_ids)


def without_device(init_dist, backend, init_backend='torch', **kwargs) -> None:
    """MMEngine's start of a launcher's processes, which selects no device for gloo."""
    if backend != 'gloo' or init_backend != 'torch':
        return init_dist(backend, init_backend=init_backend, **kwargs)
    set_device = torch.cuda.set_device
    torch.cuda.set_device = lambda device: None
    try:
        init_dist(backend, init_backend=init_backend, **kwargs)
    finally:
        torch.cuda.set_device = set_device
    atexit.register(end_process_group)


def end_process_group() -> None:
    """End torch's process groups, if that has not been done."""
    # Freed below, a wrapped model waits for gloo's threads and holds the GIL, which these need to
    # free what they sent last: so that they have done it.
    time.sleep(0.1)
    # MMEngine's runner is part of reference cycles and still holds the wrapped model, which holds
    # the process group, whose threads end only when it is freed.
    gc.collect()
    if torch_dist.is_initialized():
        torch_dist.destroy_process_group()


def without_device_ids(init, self, module, *args, **kwargs) -> None:
    """``MMDistributedDataParallel``, whose module is on no device."""
    kwargs.pop('device_ids', None)
    init(self, module, *args, **kwargs)
