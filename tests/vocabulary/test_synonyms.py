"""Synonym sets, of a small WordNet too."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from mmdet_vild.vocabulary import load_categories
from mmdet_vild.vocabulary.synonyms import WordNet, diversified, read_synonyms

TOOL = Path(__file__).parents[2] / 'tools' / 'diversify_vocabulary.py'
#: Synsets of three words and of one; dog has two senses.
SYNSETS = (
    ('dog', 'domestic_dog', 'Canis_familiaris'),
    ('frank', 'hot_dog', 'dog'),
    ('hot_dog', 'wiener'),
    ('wall',),
)


@pytest.fixture
def wordnet(tmp_path) -> Path:
    """dict files, in WordNet's format."""
    data, offsets = '  1 This software and database is provided ...  \n', []
    for words in SYNSETS:
        offsets.append(len(data))
        listed = ' '.join(f'{word} 0' for word in words)
        data += (
            f'{len(data):08d} 05 n {len(words):02x} {listed} 001 @ 00001740 n 0000 | a gloss  \n'
        )
    (tmp_path / 'data.noun').write_text(data)
    index = '  1 This software and database is provided ...  \n'
    for lemma, senses in (('dog', [0, 1]), ('hot_dog', [1, 2]), ('wall', [3])):
        found = ' '.join(f'{offsets[i]:08d}' for i in senses)
        index += f'{lemma} n {len(senses)} 2 @ ~ {len(senses)} 1 {found}  \n'
    (tmp_path / 'index.noun').write_text(index)
    return tmp_path


def categories(*names, synonyms=()) -> list[dict]:
    return [dict(id=i, name=n, synonyms=[n, *synonyms], frequency=None)
            for i, n in enumerate(names, 1)]  # fmt: skip


def sets(found) -> list[list[str]]:
    return [category['synonyms'] for category in found]


def test_lemmas_of_all_senses_or_of_the_first(wordnet):
    net = WordNet(wordnet)
    assert net.lemmas('dog') == ['dog', 'domestic dog', 'Canis familiaris', 'frank', 'hot dog']
    assert net.lemmas('Hot dog', senses=1) == ['frank', 'hot dog', 'dog']
    assert net.lemmas('stop sign') == []


def test_own_names_of_others_are_dropped(wordnet):
    found = diversified(categories('dog', 'hot dog', 'wall-other-merged', 'stop sign'),
                        WordNet(wordnet))  # fmt: skip
    assert sets(found) == [
        ['dog', 'domestic dog', 'canis familiaris', 'frank'],
        ['hot dog', 'frank', 'wiener'],
        ['wall'],
        ['stop sign'],
    ]
    assert found[2]['name'] == 'wall-other-merged'


def test_own_synonyms_are_kept_and_a_file_says_them_all(wordnet):
    found = categories('dog', 'sofa', synonyms=['Big_thing', 'dog'])
    assert sets(diversified(found)) == [['dog', 'big thing'], ['sofa', 'big thing']]
    more = {'Sofa': ['couch', 'couch', 'dog', '']}
    given = sets(diversified(found, WordNet(wordnet), more))
    assert given[1] == ['sofa', 'couch'] and 'domestic dog' in given[0]


def test_names_with_commas_begin_with_the_first():
    """As ADE20K's classes are called."""
    (found,) = diversified([dict(name='wall, bulwark', synonyms=['wall', 'bulwark'])])
    assert found == dict(name='wall, bulwark', synonyms=['wall', 'bulwark'])


def test_refuses_files_that_do_not_fit(wordnet, tmp_path):
    path = tmp_path / 'sets.json'
    for content, message in (
        ('{', 'not valid JSON'),
        ('["dog"]', 'must be'),
        ('{"dog": "hound"}', 'must be'),
        ('{"dog": ["hound"], "cat": [" "]}', r"no synonym of \['cat'\]"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_synonyms(path)
    with pytest.raises(FileNotFoundError, match='no file of synonyms'):
        read_synonyms(tmp_path / 'none.json')
    with pytest.raises(ValueError, match=r"sets.json has synonyms of 1 categories .*'zebra'"):
        diversified(categories('dog'), more={'zebra': ['x']}, source='sets.json')
    with pytest.raises(ValueError, match="sets.json has the category 'dog' twice"):
        diversified(categories('dog'), more={'dog': ['x'], 'Dog': ['y']}, source='sets.json')
    shown = dict(name='my mug', synonyms=['mug.png'], examples=[object()])
    with pytest.raises(ValueError, match=r"\['my mug'\] have pictures"):
        diversified([*categories('dog'), shown])
    with pytest.raises(FileNotFoundError, match='no index.noun of WordNet'):
        WordNet(tmp_path / 'nowhere')
    (wordnet / 'data.noun').write_text('  1 of another release\n' * 99)
    with pytest.raises(ValueError, match='no synset at byte'):
        WordNet(wordnet).lemmas('dog')
    (wordnet / 'index.noun').write_text('dog n many\n')
    with pytest.raises(ValueError, match='line 1 of'):
        WordNet(wordnet)


def test_tool_writes_what_can_be_encoded(wordnet, tmp_path, monkeypatch, capsys):
    source, out = tmp_path / 'words.json', tmp_path / 'out' / 'sets.json'
    source.write_text(json.dumps(categories('dog', 'wall-stone', synonyms=['thing'])))
    monkeypatch.setattr(sys, 'argv', ['tool', str(source), '--wordnet', str(wordnet), '--senses',
                                      '1', '--only-own', '--out', str(out)])  # fmt: skip
    runpy.run_path(str(TOOL), run_name='__main__')
    assert sets(load_categories(str(out))) == [
        ['dog', 'domestic dog', 'canis familiaris'],
        ['wall stone'],
    ]
    assert '2 categories, 4 names; 1 have one name alone, at most 3' in capsys.readouterr().out
