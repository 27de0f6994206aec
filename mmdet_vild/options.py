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
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

Class = TypeVar('Class', bound=type)


@dataclass(frozen=True)
class Range:
    """The numbers that an option may be, of which ``text`` is the description."""

    text: str
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf

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
    Texts are also refused where a parent's annotations say a truth or a number.

    Raises:
        ValueError: An option is of another type, or out of its range.
    """
    init = cls.__init__

    @functools.wraps(init)
    def checking(self, *args, **kwargs) -> None:
        check_options(type(self).__name__, init, self, *args, **kwargs)
        parents = type(self).__mro__[type(self).__mro__.index(cls) + 1 :]
        for parent in (vars(each).get('__init__') for each in parents):
            if inspect.isfunction(parent):
                _check_inherited(type(self).__name__, parent, kwargs)
        init(self, *args, **kwargs)

    cls.__init__ = checking
    return cls


def check_options(owner: str, init: Callable, *args, **kwargs) -> None:
    """Refuse arguments of ``init`` that its annotations do not allow; errors name the owner.

    Raises:
        TypeError: An argument is missing or has another name.
        ValueError: As :func:`checked_options`.
    """
    hints = get_type_hints(init, include_extras=True)
    try:
        given = inspect.signature(init).bind(*args, **kwargs).arguments
    except TypeError as error:
        raise TypeError(f'{owner}: {error}') from error
    for name, value in given.items():
        if name in hints:
            check_option(value, hints[name], f'{name} of {owner}')


def _check_inherited(owner: str, init: Callable, given: dict) -> None:
    """Refuse texts for the truths and numbers of an ``init`` of mmdet.

    Its annotations of other kinds are not to be relied on: a list may stand where one says dict.
    """
    for name, parameter in inspect.signature(init).parameters.items():
        if parameter.annotation in (bool, int, float) and isinstance(given.get(name), str):
            check_option(given[name], parameter.annotation, f'{name} of {owner}')


def check_option(value: Any, allowed: Any, name: str) -> None:
    """Refuse a value that an annotation does not allow; errors call it by the name.

    Raises:
        ValueError: As :func:`checked_options`.
    """
    text, allows = _rule(allowed)
    if not allows(value):
        raise ValueError(f'{name} must be {text}, found {value!r}')


def check_settings(settings: dict | None, allowed: dict, name: str) -> None:
    """Refuse values of a dict, and of those inside, that annotations of the same keys do not allow.

    Raises:
        ValueError: As :func:`checked_options`.
    """
    check_option(settings, dict | None, name)
    for key in allowed.keys() & (settings or {}):
        check = check_settings if isinstance(allowed[key], dict) else check_option
        check(settings[key], allowed[key], f'{key} of {name}')


#: A type in words, several of it, and whether a value is one.
_KINDS = {
    bool: ('True or False', 'values', lambda v: isinstance(v, (bool, np.bool_))),
    int: ('a whole number', 'whole numbers', lambda v: _is_number(v, Integral)),
    float: ('a finite number', 'numbers', lambda v: _is_number(v, Real) and math.isfinite(v)),
    str: ('a text', 'texts', lambda v: isinstance(v, str)),
    dict: ('a dict', 'values', lambda v: isinstance(v, dict)),
    NoneType: ('None', 'values', lambda v: v is None),
}
_ANYTHING = ('anything', 'values', lambda v: True)


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _rule(allowed: Any) -> tuple[str, Callable[[Any], bool]]:
    """An annotation in words, and whether it allows a value."""
    kind, arguments = get_origin(allowed) or allowed, get_args(allowed)
    if kind in (Union, UnionType):
        texts, rules = zip(*map(_rule, arguments), strict=True)
        text = ' or '.join(dict.fromkeys(texts))
        return text, lambda value: any(allows(value) for allows in rules)
    if kind is Annotated:
        text, allows = _rule(arguments[0])
        limits = arguments[1]
        text = f'{text.replace("finite ", "")} {limits.text}'
        return text, lambda value: allows(value) and value in limits
    if kind is Literal:
        known = [(type(each), each) for each in arguments]
        return ' or '.join(map(repr, arguments)), lambda value: (type(value), value) in known
    if kind in (Sequence, list, tuple):
        _, several, allows = _KINDS.get(arguments[0] if arguments else Any, _ANYTHING)
        return (
            f'a list of {several}',
            lambda value: isinstance(value, (list, tuple)) and all(map(allows, value)),
        )
    text, _, allows = _KINDS.get(kind, _ANYTHING)
    return text, allows
