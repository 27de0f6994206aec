"""Prompt templates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_vild.vocabulary import VILD_TEMPLATES, fill_templates, readable_name

pytestmark = pytest.mark.onedl


def test_the_prompt_ensemble_has_63_templates():
    assert len(set(VILD_TEMPLATES)) == 63
    assert all(template.count('{}') == 1 for template in VILD_TEMPLATES)
    assert VILD_TEMPLATES[0] == 'There is {article} {} in the scene.'
    for known in ('itap of my {}.', 'a photo of the hard to see {}.', 'a painting of a {}.'):
        assert known in VILD_TEMPLATES


@pytest.mark.parametrize(
    ('name', 'words', 'article'),
    [
        ('tow_truck', 'tow truck', 'a'),
        ('apricot', 'apricot', 'an'),
        ('Water_bottle', 'water bottle', 'a'),
        ('coat/jacket', 'coat or jacket', 'a'),
        (' hot_  dog', 'hot dog', 'a'),
        ('Cafe\u0301', 'caf\u00e9', 'a'),
        ('\ufeffca\xadt\u200b\u200d', 'cat', 'a'),
        ('\uff23\uff41\uff54', 'cat', 'a'),
        ('T\u2011shirt', 't-shirt', 'a'),
        ('T\u2013shirt', 't-shirt', 'a'),
        ('carpenter\u2019s saw', "carpenter's saw", 'a'),
        ('\u201ccat\u201d!', 'cat', 'a'),
        ("'owl!'", 'owl', 'an'),
        ('12" record', '12" record', 'a'),
        ("'70s chair", "'70s chair", 'a'),
        ('!', '!', 'a'),
        # What joiners are for.
        ('\u0645\u06cc\u200c\u062e\u0648', '\u0645\u06cc\u200c\u062e\u0648', 'a'),
    ],
)
def test_names_are_put_into_templates(name, words, article):
    assert readable_name(name) == words
    assert fill_templates(name, ['{article} {}.', 'the {}']) == [
        f'{article} {words}.',
        f'the {words}',
    ]


@given(st.text() | st.text('a!?"\'\xb4\u2033\u207b\u0149\u200b\u200d '))
def test_what_is_read_is_read_the_same_again(name):
    assert readable_name(readable_name(name)) == readable_name(name)


def test_refusals():
    with pytest.raises(ValueError, match='empty category name'):
        fill_templates(' ')
    with pytest.raises(ValueError, match=r"no \"\{\}\".*'a photo'"):
        fill_templates('cat', ['a photo'])
