"""The syntax of words that a user asks for."""

import pytest
from mmdet.evaluation import get_classes

from mmdet_vild.vocabulary import load_categories, parse_words


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('toy elephant . striped mug . cat', [['toy elephant'], ['striped mug'], ['cat']]),
        ('bench . car .', [['bench'], ['car']]),  # as mmdet's image demo has it
        ('cat', [['cat']]),
        ('sofa / couch .  big   cat', [['sofa', 'couch'], ['big cat']]),
        ('St. Bernard . cutting/chopping board', [['St. Bernard'], ['cutting/chopping board']]),
        (('猫 / ネコ', 'собака', 'naïve'), [['猫', 'ネコ'], ['собака'], ['naïve']]),
        (['a . b'], [['a . b']]),  # a word of a list is no text of several
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
        (' . ', ValueError, 'there is no word'),
        ([], ValueError, 'there is no word'),
        ('cat . . dog', ValueError, 'word 2 of 3 is empty'),
        (['cat', '\u200b'], ValueError, 'word 2 of 2 is empty'),
        ('sofa /  . cat', ValueError, 'word 1 of 2 is empty, or has an empty synonym'),
        ('Tow_truck . cat . tow truck', ValueError, "words 1 and 3 of 3 are the same: 'tow truck'"),
        (['cat', 3], TypeError, 'a list of texts, found'),
        (3, TypeError, 'found 3'),
    ],
)
def test_refused(text, error, message):
    with pytest.raises(error, match=message):
        parse_words(text)


def test_a_file_of_words_has_the_same_synonyms(tmp_path):
    (tmp_path / 'words.txt').write_text('sofa / couch\n\ncat\n', encoding='utf-8')
    found = load_categories(str(tmp_path / 'words.txt'))
    assert [c['synonyms'] for c in found] == [['sofa', 'couch'], ['cat']]
