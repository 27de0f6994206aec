"""Let torch load the checkpoints that MMEngine saves, without unpickling anything else.

For: mmengine 0.10.7 with torch >= 2.6, where ``torch.load`` allows only tensors and plain
containers. A checkpoint holds MMEngine's message hub, whose log buffers pickle NumPy
arrays and scalars, and so cannot be resumed from or tested. The classes are put on
torch's list of safe ones; loading stays ``weights_only``. OneDL's mmengine lists the
same ones itself.
"""

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import checkpoint


def needed() -> bool:
    """Return whether ``torch.load`` is strict and MMEngine does not know it."""
    strict = tuple(int(n) for n in torch.__version__.split('.')[:2]) >= (2, 6)
    return strict and not hasattr(checkpoint, 'get_torch_safe_globals')


def safe_globals() -> list:
    """Return what the message hub of a checkpoint pickles, besides containers.

    ``getattr`` is among them because ``HistoryBuffer`` pickles its statistics methods
    as attributes of itself; torch restricts what a checkpoint may do with it.
    """
    multiarray = np.core.multiarray if np.__version__.startswith('1.') else np._core.multiarray
    dtypes = {type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_)}
    functions = [multiarray._reconstruct, multiarray.scalar]
    # A checkpoint names the functions by the module NumPy kept them in when it was saved.
    aliases = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in functions
        for core in ('core', '_core')
    ]
    return [HistoryBuffer, getattr, np.ndarray, np.dtype, *dtypes, *aliases]


def apply() -> None:
    """Add the classes to torch's list of safe globals, where it is needed."""
    if needed():
        torch.serialization.add_safe_globals(safe_globals())
