"""Data-loading workers end when the process that they load for was killed.

For: every torch. A worker looks whether its parent is alive only between two batches, and to end it
waits until its queue is empty, into a pipe whose reading end it holds itself: with samples of more
than 64 kB it stays for good. So here every daemonic process of multiprocessing, which is to end
with its parent, looks by itself. (Linux could send a signal when the parent ends, but does so as
well when the thread ends that started the worker.)
"""

import os
import threading
import time
from multiprocessing import current_process, parent_process, util

#: Seconds between two looks.
INTERVAL = 2


def end_with(parent: int) -> None:
    """End this process, if it is daemonic, when it has another parent than the given one.

    Or, of a fork server, which lives as long as its children, when who asked for it has ended.
    """
    asked_by = None
    while os.getppid() == parent and (asked_by is None or asked_by.is_alive()):
        asked_by = parent_process()  # None until it has unpickled what it shall do
        time.sleep(INTERVAL)
    if current_process().daemon:
        os._exit(1)


def watch_parent(_: object = None) -> None:
    """Look in a thread of its own."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()


def apply() -> None:
    """Have every process that is forked from this one look, and this one if it was spawned."""
    util.register_after_fork(end_with, watch_parent)
    if getattr(current_process(), '_inheriting', False):  # it is unpickling what it shall do
        watch_parent()
