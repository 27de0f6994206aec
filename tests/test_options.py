"""What configs may say, for every registered component."""

import inspect
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from mmdet.registry import DATASETS, METRICS, MODELS, TRANSFORMS
from mmdet.utils import OptConfigType
from mmengine.config import ConfigDict

import mmdet_vild  # noqa: F401
from mmdet_vild.options import Count, Fraction, NotNegative, Positive, checked_options


@checked_options
class Component:
    """Has an option of each kind."""

    def __init__(
        self,
        positive: Positive = 1.0,
        weight: NotNegative = 0.5,
        share: Fraction = 0.5,
        count: Count = 1,
        flag: bool = True,
        name: str | None = None,
        names: Sequence[str] | None = None,
        size: tuple[int, int] = (1, 2),
        cfg: dict | None = None,
        mode: Literal['a', 'b', None] = 'a',
        number: float = 0.0,
        anything=None,
    ) -> None:
        self.given = {key: value for key, value in locals().items() if key != 'self'}


NAN, INF = float('nan'), float('inf')
REFUSED = [
    *[(dict(positive=v), 'a number above 0') for v in (0, -1, NAN, INF, -INF)],
    *[(dict(positive=v), 'a number above 0') for v in ('abc', '1', True, None, [1], 1j)],
    *[(dict(weight=v), 'a number of 0 or more') for v in (-1e-9, NAN, INF)],
    *[(dict(share=v), 'a number from 0 to 1') for v in (-0.1, 1.1, NAN)],
    (dict(share='half'), "a number from 0 to 1, found 'half'"),
    *[(dict(count=v), 'a whole number of 1 or more') for v in (0, -3)],
    *[(dict(count=v), 'a whole number of 1 or more') for v in (2.0, 'many', True, NAN)],
    *[(dict(flag=v), 'True or False') for v in ('no', 'maybe', 'True', 1, 0, None, [])],
    *[(dict(name=v), 'a text or None') for v in (1, ['a'], b'a')],
    *[(dict(names=v), 'a list of texts or None') for v in ('cat', ['cat', 1], {'a': 1})],
    *[(dict(size=v), 'a list of whole numbers') for v in (3, '3', (1, 'a'), (1.5, 2))],
    *[(dict(cfg=v), 'a dict or None') for v in ('x', ['x'], 1)],
    (dict(mode='c'), "'a' or 'b' or None, found 'c'"),
    (dict(mode=1), "'a' or 'b' or None, found 1"),
    *[(dict(number=v), 'a finite number') for v in (NAN, INF)],
    (dict(number='1e-3'), 'a finite number'),
]


@pytest.mark.parametrize(('options', 'message'), REFUSED)
def test_refused(options, message):
    (name,) = options
    with pytest.raises(ValueError, match=f'^{name} of Component must be .*{message}'):
        Component(**options)


@pytest.mark.parametrize(
    'options',
    [
        dict(positive=1e-3, weight=0, share=1, count=np.int64(3), flag=np.bool_(False)),
        dict(name='a', names=['cat', 'dog'], size=[3, 4], cfg=ConfigDict(a=1), mode=None),
        dict(names=(), positive=np.float32(2), anything=object(), number=-5),
    ],
)
def test_accepted_as_it_is(options):
    given = Component(**options).given
    assert all(given[key] is value for key, value in options.items())


def test_is_seen_through():
    """By those who look at the signature, and for arguments that it does not have."""
    assert list(inspect.signature(Component.__init__).parameters)[1] == 'positive'
    with pytest.raises(TypeError, match='unexpected keyword argument .typo.'):
        Component(typo=1)
    with pytest.raises(ValueError, match='positive of Child must be'):
        type('Child', (Component,), {})('x')


class Parent:
    """As one of mmdet, with a default that is not of its kind, and an object."""

    def __init__(
        self, flag: bool = False, count: int = None, odd: int = True, cfg: OptConfigType = None
    ) -> None:
        self.given = (flag, count, odd, cfg)


@checked_options
class Inheriting(Parent):
    def __init__(self, own: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)


def test_options_of_parents():
    for name, value in (('flag', 'no'), ('count', 'a')):
        with pytest.raises(ValueError, match=f'^{name} of Inheriting must be '):
            Inheriting(**{name: value})
    module = object()
    given = dict(flag=True, count=None, odd=False, cfg=module)
    assert Inheriting(**given).given == tuple(given.values())
    with pytest.raises(TypeError, match='typo'):
        Inheriting(typo=1)


@pytest.mark.parametrize(
    ('registry', 'wrong', 'options'),
    [
        (DATASETS, 'test_mode', dict(type='OpenVocabularyCocoDataset', test_mode='no')),
        (METRICS, 'format_only', dict(type='FastLVISMetric', format_only='no')),
        (MODELS, 'num_convs', dict(type='TFRPNHead', num_convs='2', norm_cfg={})),
        (TRANSFORMS, 'to_float32', dict(type='LoadImageOrSkip', to_float32='no')),
        (TRANSFORMS, 'meta_keys', dict(type='PackViLDInputs', meta_keys='img_id')),
        (TRANSFORMS, 'keep_ratio', dict(type='TFResize', keep_ratio='maybe')),
    ],
)
def test_registered(registry, wrong, options):
    with pytest.raises(ValueError, match=f'{wrong} of {options["type"]} must be '):
        registry.build(options)
