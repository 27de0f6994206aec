"""Let torch load the checkpoints that MMEngine saves, and unpickle nothing else.

For: every mmengine of both families. A checkpoint holds MMEngine's message hub, whose log buffers
pickle NumPy arrays and scalars. torch >= 2.6 allows only tensors and plain containers, and mmengine
0.10.7 neither tests nor resumes from it. OneDL's mmengine allows ``getattr`` of anything, and loads
what torch refuses once more with ``weights_only=False``, which executes whatever is in the file.
Here what MMEngine pickles is put on torch's list of safe globals, and torch has the last word.
"""

from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import checkpoint


def apply() -> None:
    """Extend torch's list of safe globals, and let nothing go around it."""
    torch.serialization.add_safe_globals(safe_globals())
    if hasattr(checkpoint, '_safe_torch_load'):  # OneDL's
        checkpoint._safe_torch_load = torch.load


def safe_globals() -> list:
    """What a message hub pickles, in the form of ``add_safe_globals``."""
    multiarray = np.core.multiarray if np.__version__.startswith('1.') else np._core.multiarray
    # A checkpoint calls these by the module that the NumPy which saved it keeps them in.
    functions = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in (multiarray._reconstruct, multiarray.scalar)
        for core in ('core', '_core')
    ]
    numbers = (np.float64, np.float32, np.int64, np.int32, np.uint32, np.bool_)
    dtypes = {type(np.dtype(number)) for number in numbers}
    getter = (history_buffer_method, 'builtins.getattr')
    return [HistoryBuffer, getter, slice, np.ndarray, np.dtype, *dtypes, *functions]


def history_buffer_method(owner: type, name: str) -> object:
    """In place of ``getattr``, which pickles a ``HistoryBuffer``'s statistics methods.

    Raises:
        UnpicklingError: The checkpoint asks for an attribute of anything else.
    """
    if owner is not HistoryBuffer or name.startswith('_'):
        raise UnpicklingError(
            f'The checkpoint reads attribute {name!r} of {owner!r}; only public methods of '
            'HistoryBuffer are allowed. Do not load it unless you trust its source.'
        )
    return getattr(owner, name)
