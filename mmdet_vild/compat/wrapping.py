"""How the patches put a function around somebody else's."""

import functools
from collections.abc import Callable
from typing import Any


def wrap(owner: Any, name: str, function: Callable) -> None:
    """Replace ``owner.name``, once, by a function whose first argument is what it was."""
    original = getattr(owner, name)
    if getattr(original, 'patched_by', None) is function:
        return

    @functools.wraps(original)
    def wrapper(*args, **kwargs):
        return function(original, *args, **kwargs)

    wrapper.patched_by = function
    setattr(owner, name, wrapper)
