"""Which category of a vocabulary a word is, and which of them do not compete with it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmdet_vild.vocabulary import TextEmbeddings, parse_words, plurals, readable_name
from mmdet_vild.vocabulary.known_words import KnownWords

#: Categories of LVIS as they are, and in the last line some others.
LVIS = """
knife . steak_knife . wolf . goose . teddy_bear . bear . polar_bear . grizzly / grizzly_bear
person / baby / child / boy / girl / man / woman / human . scissors . school_bus . fish
mouse_(computer_equipment) / computer_mouse . fish_(food) . wineglass . sunglasses . beanie / beany
bus_(vehicle) / autobus / charabanc / double-decker / motorbus / motorcoach . smoothie . binoculars
glass_(drink_container) / drinking_glass . spectacles / specs / glasses . bow-tie / bowtie . berry
bow_(weapon) . bow_(decorative_ribbons) . necktie / tie_(necktie) . die / dice . ski . cherry . box
camera_lens . telephoto_lens / zoom_lens . Lego / Lego_set . trousers / pants_(clothing) . horse
coffee_table . table . coffee_maker . mug . cup . bottle . wine_bottle . potato . sofa / couch
car_(automobile) / auto_(automobile) . motor_vehicle . traffic_light . red heart . sheep
red circle . blue circle_(x) . cup of tea . axe . axis . lens_(thing) . cactus . ox . tooth . foot
shelf . leaf . loaf . scarf
"""
#: Of a category, other words that denote it: spellings, synonyms, and numbers.
DENOTED = {
    'knife': 'Knife, knives',
    'fish': 'fishes',
    'fish_(food)': 'fish (food)',
    'teddy_bear': 'teddy bear, Teddy-Bear, teddy bears',
    'bear': 'bears',
    'sofa': 'couch, couches',
    'person': 'man, people, men, persons, children',
    'mouse_(computer_equipment)': 'mouse, mice, computer mice',
    'bus_(vehicle)': 'bus, buses, bus (vehicle), double decker, double-deckers',
    'glass_(drink_container)': 'glass, drinking glasses',
    'spectacles': 'glasses',
    'scissors': 'scissor',
    'binoculars': 'binocular',
    'trousers': 'pants, pant',
    'bow_(weapon)': 'bow (weapon), bows_(weapon)',
    'bow-tie': 'bow tie, bow ties, bow tie (black)',
    'necktie': 'tie, ties',
    'car_(automobile)': 'car, cars, autos',
    'die': 'dice',
    'red circle': 'red circle_(x), red circles',
    'blue circle_(x)': 'blue circle, blue circles',
    'cup': 'CUP, cup (drink), cups',
    'cup of tea': 'cups of tea',
    'traffic_light': 'traffic-lights',
    'lens_(thing)': 'lens, lenses',
    **{'wolf': 'wolves', 'goose': 'geese', 'ox': 'oxen', 'box': 'boxes', 'horse': 'horses'},
    **{'tooth': 'teeth', 'foot': 'feet', 'berry': 'berries', 'cherry': 'cherries', 'ski': 'skis'},
    **{'shelf': 'shelves', 'leaf': 'leaves', 'loaf': 'loaves', 'scarf': 'scarves, scarfs'},
    **{'potato': 'potatoes', 'cactus': 'cacti, cactuses', 'Lego': 'Legos', 'sheep': 'Sheep'},
    **{'beanie': 'beanies', 'smoothie': 'smoothies'},
}
ASKED = [(word, name) for name, words in DENOTED.items() for word in [name, *words.split(', ')]]
#: A word that denotes none: the categories that do not compete with it.
RELATED = {
    # several, and another addition in brackets
    'bow': ['bow_(weapon)', 'bow_(decorative_ribbons)'],
    'bows': ['bow_(weapon)', 'bow_(decorative_ribbons)'],
    'bow (ship)': ['bow_(weapon)', 'bow_(decorative_ribbons)'],
    'axes': ['axe', 'axis'],
    'mouse (animal)': ['mouse_(computer_equipment)'],
    # its kinds
    'circle': ['red circle', 'blue circle_(x)'],
    'hearts': ['red heart'],
    'vehicle': ['motor_vehicle'],
    # what it is a kind of
    'striped mug': ['mug'],
    'striped mugs': ['mug'],
    'tall men': ['person'],
    'London bus': ['bus_(vehicle)'],
    'toy wolves': ['wolf'],
    'wine glasses': ['glass_(drink_container)', 'spectacles'],
    'wooden coffee table': ['coffee_table', 'table'],
    'my red heart': ['red heart'],
    # both, by the last word before a preposition
    'cup of coffee': ['cup', 'cup of tea'],
    'knives in a box': ['knife', 'steak_knife'],
    'bottles with corks': ['bottle', 'wine_bottle'],
    # nothing
    **dict.fromkeys(['whale', 'red', 'coffee', 'table lamp', '3', '猫'], []),
}


def text_of(words) -> TextEmbeddings:
    words = parse_words(words)
    rows = np.random.default_rng(len(words)).normal(size=(len(words), 4))
    synonyms = [word['synonyms'] for word in words]
    names = [word['name'] for word in words]
    return TextEmbeddings(rows, names, [False] * len(words), 'teacher@0', synonyms)


@pytest.fixture(scope='module')
def lvis() -> KnownWords:
    return KnownWords(text_of(LVIS))


def apart(known: KnownWords, text: TextEmbeddings, **options) -> list[str]:
    """The categories that do not compete with words."""
    found, own = known.add_rivals(text, **options), known.vocabulary
    count = len(text.names)
    rivals = found.names[count:]
    rows = [own.names.index(name) for name in rivals]
    assert rows == sorted(rows) and found.names[:count] == text.names
    np.testing.assert_array_equal(found.embeddings[:count], text.embeddings)
    np.testing.assert_array_equal(found.embeddings[count:], own.embeddings[rows])
    return [name for name in own.names if name not in rivals]


@pytest.mark.parametrize(('word', 'category'), ASKED)
def test_a_word_is_the_category_that_it_denotes(lvis, word, category):
    """And that one alone does not compete with it: a teddy bear does with bears."""
    assert lvis.vocabulary.names[lvis.find(word, [word])] == category
    assert apart(lvis, text_of([word])) == [category]


@pytest.mark.parametrize('word', RELATED)
def test_what_does_not_compete_with_any_other_word(lvis, word):
    assert lvis.find(word, [word]) is None
    assert sorted(apart(lvis, text_of([word]))) == sorted(RELATED[word])


@pytest.mark.parametrize(
    ('word', 'left_out'),
    [
        ('bears', 'bear teddy_bear polar_bear grizzly'),
        ('teddy bear', 'bear teddy_bear'),
        ('wine_bottle', 'bottle wine_bottle'),
        ('bottle', 'bottle wine_bottle'),
        ('striped mug', 'mug'),
        ('scissors', 'scissors'),
        ('whale', ''),
    ],
)
def test_what_an_annotated_word_may_be_too_does_not_compete_in_training(lvis, word, left_out):
    found = apart(lvis, text_of([word]), with_related=False)
    assert sorted(found) == sorted(left_out.split())


@pytest.mark.parametrize(
    ('word', 'row', 'found'),
    [
        ('couch / sofa', 'sofa', ['sofa']),
        ('couches / sofas', 'sofa', ['sofa']),
        ('sofa / divan', None, ['sofa']),
        ('divan / couch', None, ['sofa']),
        ('cup / mug', None, ['mug', 'cup']),
        ('steed / toy wolves', None, ['wolf']),
    ],
)
def test_synonyms_of_ones_own(lvis, word, row, found):
    """A word is a category if all its names are; what one of them is does not compete."""
    text = text_of([word])
    position = lvis.find(text.names[0], text.synonyms[0])
    assert (None if position is None else lvis.vocabulary.names[position]) == row
    assert apart(lvis, text) == found


@pytest.mark.parametrize(
    'word',
    [
        '\ufeffsofa',
        'so\u200bfa',
        '\uff33\uff4f\uff46\uff41',
        '"sofa"',
        '\u2018couch\u2019',
        'sofa!',
    ],
)
def test_typed_otherwise(lvis, word):
    assert lvis.find(word, [word]) == lvis.find('sofa', ['sofa']) is not None
    assert apart(lvis, text_of([word])) == ['sofa']


def test_a_name_that_is_no_word(lvis):
    """Such as VOC's 'diningtable', of which the synonym is what the teacher reads."""
    assert lvis.find('coffeetable', ['coffee table']) == lvis.find('coffee_table', ['coffee_table'])


def test_what_the_vocabulary_says(lvis):
    """A category has its own row and synonyms, and any other word those that it is given."""
    own = lvis.vocabulary
    rows, synonyms, novel = lvis.look_up(parse_words('Knives . divan / couch . couches . whale'))
    names = [None if row is None else own.names[row] for row in rows]
    assert names == ['knife', None, 'sofa', None]
    assert synonyms == (('knife',), ('divan', 'couch'), ('sofa', 'couch'), ('whale',))
    assert novel.tolist() == [False, False, False, True] and novel.dtype == bool


@pytest.mark.parametrize(
    ('words', 'one', 'other', 'category'),
    [
        ('cat . bus . dog . bus (vehicle)', 'bus', 'bus (vehicle)', 'bus_(vehicle)'),
        ('man . woman', 'man', 'woman', 'person'),
        ('sofa / couch . couches', 'sofa', 'couches', 'sofa'),
    ],
)
def test_one_category_under_two_names(lvis, words, one, other, category):
    message = f"'{one}' and '{other}' are one category of the vocabulary, '{category}'; leave"
    with pytest.raises(ValueError) as error:
        lvis.look_up(parse_words(words))
    assert str(error.value).startswith(message)
    lvis.look_up(parse_words('man / adult . woman'))  # as the message says


def test_inflect_is_not_asked_for_what_the_vocabulary_knows(lvis, monkeypatch):
    """It is loaded late, and would take 'bus' and 'fish' for plurals."""
    asked = []
    monkeypatch.setattr(plurals, '_engines', lambda: asked.append(1) or 1 / 0)
    known = KnownWords(lvis.vocabulary)
    for word in (*known.vocabulary.names, 'fish', 'bus', 'lens', 'couch', 'tie', 'bow tie'):
        assert len(apart(known, text_of([word]))) == 1
    assert not asked
    with pytest.raises(ZeroDivisionError):
        known.find('sheepdog', ['sheepdog'])


@given(st.lists(st.text(max_size=9), unique_by=readable_name, min_size=1, max_size=9), st.data())
def test_a_vocabulary_knows_all_its_own_words(names, data):
    """By name with whatever synonyms it has; asked for as a whole, nothing competes with it."""
    synonyms = [[name, *data.draw(st.lists(st.sampled_from(names), max_size=2))] for name in names]
    distinct = len({readable_name(name).replace('-', ' ') for name in names}) == len(names)
    own = TextEmbeddings(np.ones((len(names), 2)), names, [False] * len(names), 't', synonyms)
    known = KnownWords(own)
    for row, name in enumerate(names):
        if distinct:
            assert known.find(name, [name]) == known.find(name, synonyms[row]) == row
    assert known.add_rivals(own).names == own.names


def test_names_of_what_competes_are_unique(lvis):
    """Also where a word has the name of a category, and other synonyms."""
    text = text_of(['cup'])
    text = TextEmbeddings(text.embeddings, ['cup'], [True], 'teacher@0', [['goblet']])
    assert apart(lvis, text) == ['cup']
