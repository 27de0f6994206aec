"""Category lists in each of their forms."""

import json
import os
from pathlib import Path

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


def test_a_list_keeps_its_order(write):
    found = load_categories(write(LVIS))
    assert [c['name'] for c in found] == ['owl', 'cat']
    assert [is_novel(c) for c in found] == [True, False]
    assert found[0]['synonyms'] == ['owl', 'bird of Minerva']


def test_an_annotation_file_keeps_its_order(write):
    """In which mmdet's datasets and metrics number the labels."""
    path = write({'images': [], 'annotations': [], 'categories': LVIS})
    assert [c['name'] for c in load_categories(path)] == ['owl', 'cat']
    assert COCO(path).get_cat_ids() == [c['id'] for c in load_categories(path)] == [2, 1]


@pytest.mark.parametrize('name', ['words.txt', 'Words.TXT'])
def test_plain_words(write, name):
    found = load_categories(write('toy elephant\n\nstriped mug\n', name))
    assert [(c['id'], c['name'], c['synonyms']) for c in found] == [
        (1, 'toy elephant', ['toy elephant']),
        (2, 'striped mug', ['striped mug']),
    ]
    assert not any(is_novel(c) for c in found)


@pytest.mark.parametrize(
    ('content', 'name'), [('cat\n', 'words.txt'), ('[{"name": "cat"}]', 'w.json')]
)
def test_what_notepad_writes_first_is_no_character(write, content, name):
    assert [c['name'] for c in load_categories(write('\ufeff' + content, name))] == ['cat']


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


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', 'not valid JSON'),
        ([], 'holds no categories'),
        ({'images': []}, 'holds no categories'),
        ('"cat"', 'holds no categories'),
        ([{'id': 1}], 'category 0 of .* has no "name": found {\'id\': 1}'),
        ([{'name': ' '}], 'category 0 of .* is empty, or has an empty synonym'),
        ([{'name': '\u200b'}], 'category 0 of .* is empty'),
        ([{'name': 'cat', 'synonyms': ['cat', '\u200b']}], 'is empty, or has an empty synonym'),
        ([{'name': 'c\0t'}], r"category 0 of .* has 'c\\x00t' with a control character"),
        ([{'name': 'cat', 'synonyms': ['\ud800']}], r"has '\\ud800' with a control character"),
        ([{'name': 'cat', 'synonyms': [3]}], 'must be a list of texts'),
        (['cat', 'dog'], r"category 0 of .* is 'cat'; expected \{.*, or plain words in a .txt"),
        ({'categories': [{'id': 1, 'name': 'cat'}, {'id': '2', 'name': 'dog'}]}, 'category 1 of'),
        ({'categories': [{'id': '2', 'name': 'dog'}]}, '"id" must be an integer, found \'2\''),
        ({'categories': ['cat']}, r"category 0 of .* is 'cat'; expected"),
        ([{'name': 'cat'}, {'name': 'cat'}], r"more than once: \['cat'\]"),
        ([{'name': 'cat'}, {'name': 'Cat'}], r"more than once: \['Cat', 'cat'\]; the teacher"),
        ([{'name': 'tow_truck'}, {'name': 'tow  truck'}], 'more than once'),
        ([{'name': 'cat', 'synonyms': 'kitty'}], 'must be a list of texts'),
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
    with pytest.raises(FileNotFoundError, match='no vocabulary file at absent.json'):
        load_categories('absent.json')


@pytest.mark.dataset
def test_real_lvis_categories():
    folder = Path(os.environ['VILD_LVIS_DIR'])
    found = load_categories(str(folder / 'annotations' / 'lvis_v1_val.json'))
    assert len(found) == 1203 and sum(is_novel(c) for c in found) == 337
