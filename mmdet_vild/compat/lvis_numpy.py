"""Let the LVIS evaluation run with a current NumPy, which is left alone.

For: lvis 0.5.3 with NumPy >= 1.24. ``lvis.eval`` uses ``np.float``, which NumPy removed; evaluation
crashes as soon as there are detections. The module gets a ``np`` of its own that has the name.
"""

from types import SimpleNamespace

import lvis.eval
import numpy as np


def apply() -> None:
    """Give ``lvis.eval`` the NumPy it was written for, where it is needed."""
    if not hasattr(lvis.eval.np, 'float'):
        lvis.eval.np = SimpleNamespace(**{**vars(np), 'float': float})
