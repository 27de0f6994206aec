"""The words of the mini world's segmentors: which are learned, and which are held out."""

import json
from pathlib import Path

import pytest
import segment_words
from hypothesis import given
from hypothesis import strategies as st

from mmdet_vild.vocabulary import load_categories

CATEGORIES = [
    dict(name='trash_can', synonyms=['trash_can', 'dustbin', 'wastebin'], frequency='f'),
    dict(name='wrench', synonyms=['wrench', 'spanner'], frequency='c'),
    dict(name='owl', synonyms=['owl'], frequency='f'),
    dict(name='violin', synonyms=['violin', 'fiddle'], frequency='r'),
    # 'owl' is the name of another category, and so no synonym.
    dict(name='bird', synonyms=['bird', 'owl', 'fowl', 'OWL'], frequency='f'),
]
MATERIALS = ['sky', 'wall-brick']


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / 'categories.json').write_text(json.dumps(CATEGORIES))
    classes = [*(each['name'] for each in CATEGORIES), *MATERIALS]
    (tmp_path / 'semantic_classes.json').write_text(json.dumps(classes))
    sizes = dict(train=2, val=1, test=2, unseen=1)
    (tmp_path / 'world.json').write_text(json.dumps(sizes))
    segment_words.main([str(tmp_path)])
    return tmp_path


def words(world: Path, kind: str) -> dict[str, list[str]]:
    found = load_categories(str(world / 'gkc' / f'{kind}.json'))
    return {each['name']: each['synonyms'] for each in found}


def test_the_last_synonym_of_a_base_category_is_held_out(world: Path) -> None:
    assert words(world, 'names') == {
        'trash_can': ['trash can'],
        'wrench': ['wrench'],
        'owl': ['owl'],
        'violin': ['violin'],
        'bird': ['bird'],
        'sky': ['sky'],
        'wall-brick': ['wall brick'],
    }
    assert words(world, 'synonyms') == {
        **words(world, 'names'),
        'trash_can': ['trash can', 'dustbin'],
    }
    assert words(world, 'held_out') == {
        **words(world, 'names'),
        'trash_can': ['wastebin'],
        'wrench': ['spanner'],
        'bird': ['fowl'],
    }
    assert segment_words.held_out_words(world) == {
        'trash_can': 'wastebin',
        'wrench': 'spanner',
        'bird': 'fowl',
    }
    frequencies = [
        each['frequency'] for each in load_categories(str(world / 'gkc' / 'held_out.json'))
    ]
    assert frequencies == ['f', 'c', 'f', 'r', 'f', 'f', 'f']


def test_pictures_of_each_split(world: Path) -> None:
    """Numbered through the splits from 1 on, as the world's pictures are."""
    lists = {
        split: [int(stem) for stem in (world / 'gkc' / f'{split}.txt').read_text().split()]
        for split in ('train', 'val', 'test', 'unseen')
    }
    assert lists == dict(train=[1, 2], val=[3], test=[4, 5], unseen=[6])


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from('abcdefghij'), min_size=1, max_size=5), st.sampled_from('fcr')
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda each: each[0][0],
    )
)
def test_held_out_words_are_in_no_training(drawn) -> None:
    categories = [dict(name=s[0], synonyms=s, frequency=f, id=i) for i, (s, f) in enumerate(drawn)]
    sets = segment_words.word_sets(categories, [c['name'] for c in categories])
    for names, synonyms, asked, (given_words, frequency) in zip(*sets.values(), drawn, strict=True):
        (name,), (word,) = names['synonyms'], asked['synonyms']
        assert synonyms['synonyms'][0] == name == given_words[0]
        if word != name:
            assert frequency != 'r' and word in given_words
            assert word not in synonyms['synonyms']
            own = {each['synonyms'][0] for each in sets['names']}
            assert word not in own
        else:
            assert synonyms['synonyms'] == [name]
