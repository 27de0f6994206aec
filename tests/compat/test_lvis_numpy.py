"""lvis evaluates with a current NumPy, and NumPy stays as it is."""

import lvis.eval
import numpy as np
import pytest

import mmdet_vild  # noqa: F401
from mmdet_vild.compat import lvis_numpy

pytestmark = pytest.mark.onedl


def test_lvis_has_the_name_and_numpy_does_not() -> None:
    assert lvis.eval.np.float is float
    assert np.cumsum([1, 2]).astype(dtype=lvis.eval.np.float).dtype == np.float64
    assert lvis.eval.np.linspace is np.linspace
    version = tuple(int(n) for n in np.__version__.split('.')[:2])
    assert hasattr(np, 'float') == (version < (1, 24))


def test_lvis_is_left_alone_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    patched = lvis.eval.np
    lvis_numpy.apply()
    assert lvis.eval.np is patched
