"""Let torch load the checkpoints that MMEngine saves, and still unpickle nothing else.

For: mmengine 0.10.7 with torch >= 2.6, where ``torch.load`` allows only tensors and plain
containers. A checkpoint holds MMEngine's message hub, whose log buffers pickle NumPy
arrays and scalars, and so could be neither tested nor resumed from. What they need is
put on torch's list of safe globals; loading stays ``weights_only``. OneDL's mmengine
keeps a list of its own.
"""

from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import checkpoint


def needed() -> bool:
    """Return whether ``torch.load`` is strict and MMEngine does not know it."""
    strict = tuple(int(n) for n in torch.__version__.split('.')[:2]) >= (2, 6)
    return strict and not hasattr(checkpoint, 'get_torch_safe_globals')


def history_buffer_method(owner: type, name: str) -> object:
    """Stand in for ``getattr``, which pickles a ``HistoryBuffer``'s statistics methods.

    Args:
        owner: Must be ``HistoryBuffer``.
        name: Name of a public method.

    Returns:
        object: The method.

    Raises:
        UnpicklingError: If the checkpoint asks for an attribute of anything else.
    """
    if owner is not HistoryBuffer or name.startswith('_'):
        raise UnpicklingError(
            f'The checkpoint reads attribute {name!r} of {owner!r}; only public methods of '
            'HistoryBuffer are allowed. Do not load it unless you trust its source.'
        )
    return getattr(owner, name)


def safe_globals() -> list:
    """Return what a message hub pickles, in the form of ``add_safe_globals``."""
    multiarray = np.core.multiarray if np.__version__.startswith('1.') else np._core.multiarray
    # A checkpoint calls these by the module that the NumPy which saved it keeps them in.
    functions = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in (multiarray._reconstruct, multiarray.scalar)
        for core in ('core', '_core')
    ]
    dtypes = {type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_)}
    getter = (history_buffer_method, 'builtins.getattr')
    return [HistoryBuffer, getter, np.ndarray, np.dtype, *dtypes, *functions]


def apply() -> None:
    """Extend torch's list of safe globals, where it is needed."""
    if needed():
        torch.serialization.add_safe_globals(safe_globals())
