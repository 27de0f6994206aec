"""Functions that two processes run at the same time, with gloo between them."""

import os
from collections.abc import Callable

from torch import multiprocessing


def in_two_processes(function: Callable, *arguments) -> None:
    """Run ``function(rank, *arguments)`` in forks of this process; raises what one raises.

    They end at once, without freeing anything: freed right after a collective, a
    ``DistributedDataParallel`` of torch 2.11 waits for a thread of gloo while it holds the GIL,
    which that thread may need to free what it sent, and hangs once in some twenty times.
    """
    multiprocessing.start_processes(_run, (function, arguments), nprocs=2, start_method='fork')


def _run(rank: int, function: Callable, arguments: tuple) -> None:
    function(rank, *arguments)
    os._exit(0)
