"""Annotation files with one thing wrong."""

import copy


def changed(data: dict, path: list, value=None) -> dict:
    """A copy of ``data`` with one entry replaced or, for want of a value, removed."""
    data = copy.deepcopy(data)
    *parents, last = path
    inner = data
    for key in parents:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return data
