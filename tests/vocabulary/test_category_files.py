"""Category lists in each of their forms."""

import json

import pytest
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS

from mmdet_vild.vocabulary import is_novel, load_categories

pytestmark = pytest.mark.onedl

LVIS = [
    {'id': 2, 'name': 'owl', 'synonyms': ['owl', 'bird of Minerva'], 'frequency': 'r'},
    {'id': 1, 'name': 'cat', 'synonyms': ['cat'], 'frequency': 'f'},
]


@pytest.fixture
def write(tmp_path):
    def write(content, name: str = 'categories.json') -> str:
        path = tmp_path / name
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding='utf-8')
        return str(path)

    return write


def test_json_keeps_its_order(write):
    """That of an annotation file is the one in which mmdet's datasets number the labels."""
    path = write({'images': [], 'annotations': [], 'categories': LVIS})
    found = load_categories(path)
    assert found == load_categories(write(LVIS, 'list.json')) == LVIS
    assert [is_novel(c) for c in found] == [True, False]
    assert COCO(path).get_cat_ids() == [2, 1]


@pytest.mark.parametrize('name', ['words.txt', 'Words.TXT'])
def test_plain_words(write, name):
    """Notepad begins a file with a mark."""
    found = load_categories(write('\ufeffsofa / couch\n\nSt. Bernard\n', name))
    assert found == [
        dict(id=1, name='sofa', synonyms=['sofa', 'couch'], frequency=None),
        dict(id=2, name='St. Bernard', synonyms=['St. Bernard'], frequency=None),
    ]
    assert load_categories(write('\ufeff[{"name": "cat"}]'))[0]['name'] == 'cat'


@pytest.mark.parametrize(
    ('name', 'count'),
    [
        ('CocoDataset', 80),
        ('VOCDataset', 20),
        ('Objects365V1Dataset', 365),
        ('Objects365V2Dataset', 365),
        ('LVISV1Dataset', 1203),
    ],
)
def test_dataset_classes(name, count):
    """In the order in which these datasets number their labels."""
    found = load_categories(name)
    assert len(found) == count
    assert tuple(c['name'] for c in found) == DATASETS.get(name).METAINFO['classes']
    assert all(len(c['synonyms']) == 1 and not is_novel(c) for c in found)
    joined = {c['name'].replace(' ', ''): c['synonyms'][0].replace(' ', '') for c in found}
    assert all(name == words for name, words in joined.items())


def test_a_dataset_class_may_say_which_are_novel():
    found = load_categories('OVCocoDataset')
    assert len(found) == 65 and sum(is_novel(c) for c in found) == 17
    assert is_novel(found[4]) and found[4]['name'] == 'airplane' and found[0]['frequency'] == 'f'
    found = load_categories('OVCocoPanopticDataset')  # 13 things and 5 kinds of stuff of 80 and 53
    novel = [sum(map(is_novel, some)) for some in (found[:80], found[80:])]
    assert len(found) == 133 and novel == [13, 5]


def test_commas_in_names_of_a_dataset_class_are_between_synonyms():
    found = load_categories('ADE20KPanopticDataset')
    assert found[9]['name'] == 'painting, picture'
    assert found[9]['synonyms'] == ['painting', 'picture'] and found[0]['synonyms'] == ['bed']
    assert not any(',' in synonym for c in found for synonym in c['synonyms'])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', 'not valid JSON'),
        ([], 'holds no categories'),
        ({'images': []}, 'holds no categories'),
        ('"cat"', 'holds no categories'),
        ([{'id': 1}], 'category 0 of .* has no "name": found {\'id\': 1}'),
        ([{'name': ' '}], 'category 0 of .* is empty, or has an empty synonym'),
        ([{'name': 'cat', 'synonyms': ['cat', '\u200b']}], 'is empty, or has an empty synonym'),
        ([{'name': 'c\0t'}], r"category 0 of .* has 'c\\x00t' with a control character"),
        ([{'name': 'cat', 'synonyms': ['\ud800']}], r"has '\\ud800' with a control character"),
        ([{'name': 'cat', 'synonyms': [3]}], 'must be a list of texts'),
        ([{'name': 'cat', 'synonyms': 'kitty'}], 'must be a list of texts'),
        ([{'name': 'cat', 'synonyms': []}], 'category 0 of .*: "synonyms" is empty; leave it out'),
        (['cat', 'dog'], r"category 0 of .* is 'cat'; expected \{.*, or plain words in a .txt"),
        ({'categories': [LVIS[0], {'id': '2', 'name': 'dog'}]}, "category 1 of .* found '2'"),
        ([{'name': 'cat'}, {'name': 'Cat'}], r"more than once: \['Cat', 'cat'\]; the teacher"),
        ([{'name': 'tow_truck'}, {'name': 'tow  truck'}], 'more than once'),
        ([{'name': 'cat', 'frequency': 'rare'}], r"one of \('f', 'c', 'r'\), found 'rare'"),
    ],
)
def test_malformed_files_are_refused(write, content, message):
    with pytest.raises(ValueError, match=message):
        load_categories(write(content))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('cat\n\u200b\n', 'category 1 of .* is empty'),
        ('sofa / \n', r"is empty, or has an empty synonym: \['sofa', ''\]"),
        ('cat\ndog\nCat\n', r"more than once: \['Cat', 'cat'\]"),
    ],
)
def test_malformed_words_are_refused(write, content, message):
    with pytest.raises(ValueError, match=message):
        load_categories(write(content, 'words.txt'))


def test_missing_file():
    with pytest.raises(FileNotFoundError, match='no vocabulary file at absent.json.*CocoDataset'):
        load_categories('absent.json')
