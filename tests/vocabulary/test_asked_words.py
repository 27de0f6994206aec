"""The syntax of words that a user asks for."""

import re

import pytest
from mmdet.evaluation import get_classes

from mmdet_vild.vocabulary import parse_words


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('toy elephant . striped mug . cat', [['toy elephant'], ['striped mug'], ['cat']]),
        ('bench . car .', [['bench'], ['car']]),  # as mmdet's image demo has it
        ('sofa / couch .  big   cat', [['sofa', 'couch'], ['big cat']]),
        ('3.5 mm jack . cutting/chopping board', [['3.5 mm jack'], ['cutting/chopping board']]),
        (
            'cat .\r\n\n . \nsofa / couch . dog\n. mug.\n',
            [['cat'], ['sofa', 'couch'], ['dog'], ['mug']],
        ),
        (
            '猫 。 犬 . cat\tdog\n• mug | bowl ۔\tबिल्ली।',
            [['猫'], ['犬'], ['cat'], ['dog'], ['mug'], ['bowl'], ['बिल्ली']],
        ),
        (('猫 / ネコ', 'собака', 'naïve'), [['猫', 'ネコ'], ['собака'], ['naïve']]),
        # A word of a list is no text of several.
        (['a . b', 'St. Bernard', 'cat, dog'], [['a . b'], ['St. Bernard'], ['cat, dog']]),
        (['猫。犬', 'a | b\tc'], [['猫。犬'], ['a | b c']]),
    ],
)
def test_words(text, expected):
    found = parse_words(text)
    assert [category['synonyms'] for category in found] == expected
    assert [category['name'] for category in found] == [synonyms[0] for synonyms in expected]


@pytest.mark.parametrize('name', ['coco', 'voc', 'lvis', 'objects365v2', 'oid_v6'])
def test_class_names_of_mmdet(name):
    """Which its image demo asks for by ``--texts '$: lvis'``: none is taken for two."""
    names = get_classes(name)
    assert [c['synonyms'] for c in parse_words(tuple(names))] == [
        [' '.join(n.split())] for n in names
    ]


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        ('', ValueError, 'there is no word'),
        ([], ValueError, 'there is no word'),
        ('cat . . dog', ValueError, 'word 2 of 3 is empty'),
        (['cat', '\u200b'], ValueError, 'word 2 of 2 is empty'),
        (['cat', '\x1b[31mdog'], ValueError, r"word 2 of 2 has '\\x1b\[31mdog' with a control"),
        (['\t \n'], ValueError, 'word 1 of 1 is empty'),
        (['cat / \ud800k'], ValueError, r"word 1 of 1 has '\\ud800k' with a control character"),
        ('sofa /  . cat', ValueError, 'word 1 of 2 is empty, or has an empty synonym'),
        ('Tow_truck . cat . tow truck', ValueError, "words 1 and 3 of 3 are the same: 'tow truck'"),
        ('cat . cat\u200b', ValueError, 'words 1 and 2 of 2 are the same'),
        ('T-shirt . T\u2011shirt', ValueError, 'words 1 and 2 of 2 are the same'),
        (
            'sofa / couch . Couch',
            ValueError,
            "words 1 and 2 of 2 are the same: 'Couch'; name each once, and give no two the",
        ),
        ('sofa . cat . divan / \uff33ofa', ValueError, 'words 1 and 3 of 3 are the same'),
        (['cat', 3], TypeError, 'a list of texts, found'),
        (3, TypeError, 'found 3'),
    ],
)
def test_refused(text, error, message):
    with pytest.raises(error, match=message):
        parse_words(text)


@pytest.mark.parametrize(
    'text',
    [
        'cat, dog',
        'cat,dog',
        'cat; dog',
        'cat. dog',
        'cat .dog',
        'cat .. dog',
        '猫、犬',
        '猫，犬',
        '猫。犬',
        'a|b',
        'कुत्ता।बिल्ली',
    ],
)
def test_one_word_or_several(text):
    """Of a text nobody knows; a list says so."""
    message = f'{text!r} may be one word or several: write "cat . dog" for several, or a list such'
    with pytest.raises(ValueError, match=re.escape(f'{message} as [[{text!r}]] where it is one')):
        parse_words(f'mug . {text} .\nbench')
    assert parse_words([text])[0]['name'] == text
