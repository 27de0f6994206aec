"""Let the LVIS evaluation run with a current NumPy.

For: lvis 0.5.3 with NumPy >= 1.24. ``lvis.eval`` uses ``np.float``, which NumPy removed;
evaluation crashes as soon as there are detections. The module gets its own ``np`` that
still has the name. NumPy itself is left alone.
"""

import types

import lvis.eval
import numpy as np


class _NumPyWithFloat(types.ModuleType):
    """NumPy, and ``float`` as the alias of the built-in type that it was."""

    float = float

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)


def needed() -> bool:
    """Return whether ``lvis.eval`` relies on a name that NumPy no longer has."""
    return not hasattr(lvis.eval.np, 'float')


def apply() -> None:
    """Give ``lvis.eval`` the NumPy it was written for, where it is needed."""
    if needed():
        lvis.eval.np = _NumPyWithFloat('numpy')
