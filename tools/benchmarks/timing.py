"""How the benchmarks take time."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from tqdm import tqdm

#: An environment variable: the ``time.time()`` by which :func:`rounds` ends.
END = 'BENCHMARK_END'


def synchronize(device: str | torch.device) -> None:
    """Wait for the work that is queued on a GPU."""
    if str(device).startswith('cuda'):
        torch.cuda.synchronize(device)


def timed(
    run: Callable[[], object],
    device: str | torch.device,
    cpu_clock: Callable[[], float] = time.process_time,
) -> tuple[float, object]:
    """Seconds of a call and what it returned: wall-clock time on a GPU, CPU time on a CPU.

    CPU time does not count what other processes on the machine take.
    """
    clock = time.perf_counter if str(device).startswith('cuda') else cpu_clock
    synchronize(device)
    start = clock()
    result = run()
    synchronize(device)
    return clock() - start, result


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(ours, others, strict=True))


def rounds(count: int, warm_up: int = 0, name: str = 'rounds') -> Iterator[int]:
    """Numbers of rounds: those that count from 0 on, negative ones before them.

    Where the environment has ``BENCHMARK_END``, one after the first that counts is only begun if it
    will probably end by then, so that there are figures of fewer rounds and not of none.
    """
    end, longest = float(os.environ.get(END, 'inf')), 0.0
    for number in tqdm(range(-warm_up, count), desc=name, file=sys.stderr):
        start = time.time()
        if number > 0 and start + longest > end:
            print(f'{name}: {number} of {count}, as the time is over', file=sys.stderr)
            return
        yield number
        if number >= 0:  # what warms up may take far longer
            longest = max(longest, time.time() - start)
