"""What the tests of hooks share."""

from collections.abc import Iterator

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True, scope='module')
def mmdet_scope() -> Iterator[None]:
    """As in the stock tools: names in configs are looked up among mmdet's."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield
