"""Somebody else's function is wrapped once, whatever wrapped it before."""

import functools
from types import SimpleNamespace

import pytest

from mmdet_vild.compat.wrapping import wrap

pytestmark = pytest.mark.onedl


def test_once_also_around_a_decorated_function() -> None:
    def double(original, value):
        return 2 * original(value)

    @functools.wraps(len)
    def decorated(value):
        return len(value)

    owner = SimpleNamespace(size=decorated)
    for _ in range(2):
        wrap(owner, 'size', double)
    assert owner.size('abc') == 6 and owner.size.__wrapped__ is decorated
