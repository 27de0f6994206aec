"""Options of components, checked when they are given: the signature says what is allowed.

A config is a file of values that nobody has typed: ``--cfg-options`` makes ``nan`` a number and
``no`` a text, which is true. ::

    @MODELS.register_module()
    @checked_options
    class Loss(nn.Module):
        def __init__(self, loss_weight: NotNegative, reduce: Literal['rank', 'global']) -> None: ...
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

Class = TypeVar('Class', bound=type)


class Range:
    """The numbers that an option may be.

    Args:
        text: The range in words.
        least: The least of them.
        above: They are larger than it.
        most: The largest.
    """

    def __init__(
        self, text: str, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
    ) -> None:
        self.text = text
        self.least, self.above, self.most = least, above, most

    def __contains__(self, value: float) -> bool:
        return self.above < value and self.least <= value <= self.most


Positive = Annotated[float, Range('above 0', above=0)]
NotNegative = Annotated[float, Range('of 0 or more', least=0)]
Fraction = Annotated[float, Range('from 0 to 1', least=0, most=1)]
Count = Annotated[int, Range('of 1 or more', least=1)]
CountOrZero = Annotated[int, Range('of 0 or more', least=0)]


def checked_options(cls: Class) -> Class:
    """Class decorator: ``__init__`` refuses what its annotations do not allow.

    Checked are ``bool``, ``int``, ``float`` (finite ones), ``str``, ``None``, ``dict``, sequences,
    ``Literal``, unions of these, and numbers with a :class:`Range`. Other annotations are not.

    Raises:
        ValueError: An option is of another type, or out of its range.
    """
    init = cls.__init__

    @functools.wraps(init)
    def checking(self, *args, **kwargs) -> None:
        check_options(type(self).__name__, init, self, *args, **kwargs)
        init(self, *args, **kwargs)

    cls.__init__ = checking
    return cls


def check_options(owner: str, init: Callable, *args, **kwargs) -> None:
    """Refuse arguments of a function that its annotations do not allow.

    Args:
        owner: Whose options they are, for errors.
        init: The function.
        *args: Its arguments.
        **kwargs: Its arguments.

    Raises:
        TypeError: An argument is missing or has another name.
        ValueError: As :func:`checked_options`.
    """
    hints = get_type_hints(init, include_extras=True)
    for name, value in inspect.signature(init).bind(*args, **kwargs).arguments.items():
        if name in hints:
            check_option(value, hints[name], f'{name} of {owner}')


def check_option(value: Any, allowed: Any, name: str) -> None:
    """Refuse a value.

    Args:
        value: What is given.
        allowed: An annotation; see :func:`checked_options`.
        name: What to call it in errors.

    Raises:
        ValueError: It is something else.
    """
    if not is_allowed(value, allowed):
        raise ValueError(f'{name} must be {describe(allowed)}, found {value!r}')


def is_allowed(value: Any, allowed: Any) -> bool:
    """Whether a value is what an annotation says."""
    origin, arguments = get_origin(allowed), get_args(allowed)
    if origin in (Union, UnionType):
        return any(is_allowed(value, each) for each in arguments)
    if origin is Annotated:
        ranges = [each for each in allowed.__metadata__ if isinstance(each, Range)]
        return is_allowed(value, arguments[0]) and all(value in each for each in ranges)
    if origin is Literal:
        return any(
            value is each or (type(value) is type(each) and value == each) for each in arguments
        )
    kind = origin or allowed
    if kind is bool:
        return isinstance(value, (bool, np.bool_))
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if kind in (None, NoneType):
        return value is None
    if kind in (Sequence, list, tuple):
        of = arguments[0] if arguments else Any
        return isinstance(value, (list, tuple)) and all(is_allowed(each, of) for each in value)
    return not isinstance(kind, type) or kind not in (str, dict) or isinstance(value, kind)


def describe(allowed: Any) -> str:
    """An annotation in words."""
    origin, arguments = get_origin(allowed), get_args(allowed)
    if origin in (Union, UnionType):
        return ' or '.join(describe(each) for each in arguments)
    if origin is Annotated:
        texts = [each.text for each in allowed.__metadata__ if isinstance(each, Range)]
        return ' '.join([describe(arguments[0]).replace('finite ', ''), *texts])
    if origin is Literal:
        return ' or '.join(map(repr, arguments))
    kind = origin or allowed
    names = {
        bool: 'True or False',
        int: 'a whole number',
        float: 'a finite number',
        str: 'a text',
        dict: 'a dict',
        NoneType: 'None',
    }
    if kind in (Sequence, list, tuple):
        of = {str: 'texts', int: 'whole numbers', float: 'numbers'}
        return f'a list of {of.get(arguments[0], "values") if arguments else "values"}'
    return names.get(kind, getattr(kind, '__name__', str(kind)))
