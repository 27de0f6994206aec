"""lvis evaluates with a current NumPy, and NumPy stays as it is."""

import lvis.eval
import numpy as np
import pytest

import mmdet_vild  # noqa: F401

pytestmark = pytest.mark.onedl


def test_lvis_has_the_name_and_numpy_does_not() -> None:
    assert lvis.eval.np.float is float and lvis.eval.np.linspace is np.linspace
    assert np.cumsum([1, 2]).astype(dtype=lvis.eval.np.float).dtype == np.float64
    version = tuple(int(n) for n in np.__version__.split('.')[:2])
    assert hasattr(np, 'float') == (version < (1, 24))
