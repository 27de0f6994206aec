"""The text-encoder tool, on every form of vocabulary."""

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets import VOCDataset

from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import VILD_TEMPLATES, TextEmbeddings, load_categories

TOOL = Path(__file__).parents[2] / 'tools' / 'encode_vocabulary.py'
CATEGORIES = [
    {'id': 3, 'name': 'red heart', 'synonyms': ['red heart', 'crimson heart'], 'frequency': 'r'},
    {'id': 9, 'name': 'apple', 'synonyms': ['apple'], 'frequency': 'f'},
]


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp('weights') / 'teacher.pt'
    torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), path)
    return str(path)


@pytest.fixture
def encode(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Runs the tool; returns what it wrote."""

    def encode(vocabulary: object, *options: object, pretrained: str = weights) -> TextEmbeddings:
        out = tmp_path / 'new folder' / 'text.npz'
        arguments = ('--model', 'mini-clip', '--pretrained', pretrained, '--out', out, *options)
        monkeypatch.setattr(sys, 'argv', [str(TOOL), str(vocabulary), *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')
        return TextEmbeddings.load(str(out))

    return encode


@pytest.mark.parametrize('form', ['list', 'annotations', 'txt'])
def test_encodes(encode, weights, tmp_path, capsys, form):
    vocabulary = tmp_path / ('words.txt' if form == 'txt' else 'words.json')
    if form == 'txt':
        vocabulary.write_text('red heart\napple\n')
    else:
        annotations = {'categories': CATEGORIES, 'images': [], 'annotations': []}
        vocabulary.write_text(json.dumps(CATEGORIES if form == 'list' else annotations))
    text = encode(vocabulary)
    assert text.names == ('red heart', 'apple')
    assert text.novel.tolist() == [form != 'txt', False]
    teacher = OpenCLIPTeacher('mini-clip', weights)
    expected = teacher.encode_categories(load_categories(str(vocabulary)))
    assert text.teacher == teacher.identity
    heart = ('red heart',) if form == 'txt' else ('red heart', 'crimson heart')
    assert text.synonyms == (heart, ('apple',)) and text.templates == VILD_TEMPLATES
    np.testing.assert_allclose(text.embeddings, expected.embeddings, atol=1e-6)
    novel = 0 if form == 'txt' else 1
    assert f'2 categories ({novel} novel), 64 wide, 63 prompts' in capsys.readouterr().out


def test_pictures(encode, weights, tmp_path):
    """In place of a word; their paths begin at the file."""
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'mug.png'), image)
    words = tmp_path / 'words.json'
    part = dict(image='mug.png', box=[5, 6, 25, 26])
    words.write_text(json.dumps([CATEGORIES[1], dict(name='my mug', examples=['mug.png', part])]))
    text = encode(words)
    boxes = np.array([[0, 0, 40, 30], [5, 6, 25, 26]])
    expected = OpenCLIPTeacher('mini-clip', weights).encode_crops(image, boxes).numpy().mean(0)
    np.testing.assert_allclose(text.embeddings[1], expected / np.linalg.norm(expected), atol=1e-5)
    assert text.pictures.tolist() == text.novel.tolist() == [False, True]


def test_a_dataset_class(encode, tmp_path):
    """Another dataset's categories, of which the detector has learned one."""
    base = tmp_path / 'base.txt'
    base.write_text('bird\n')
    text = encode('VOCDataset', '--base', base)
    assert text.names == VOCDataset.METAINFO['classes']
    assert text.synonyms[10] == ('dining table',)
    assert np.flatnonzero(~text.novel).tolist() == [2]


#: Of LVIS: a base category that a name in brackets, or a synonym, stands for; and two bows.
LVIS = [
    ('car_(automobile)', ['car_(automobile)', 'auto_(automobile)'], 'f'),
    ('television_set', ['television_set', 'tv', 'tv_set'], 'f'),
    ('bow_(decorative_ribbons)', ['bow_(decorative_ribbons)'], 'c'),
    ('bow_(weapon)', ['bow_(weapon)'], 'r'),
    ('steak_knife', ['steak_knife', 'tv set'], 'r'),
]


@pytest.mark.parametrize(
    ('words', 'novel'),
    [
        # COCO's car is LVIS's car_(automobile); of two meanings, one of them novel, none is sure.
        ([dict(name=n) for n in ('Car', 'tv', 'bow', 'owl')], [False, False, True, True]),
        ([dict(name='owl', synonyms=['owl', 'auto'])], [False]),
        ([dict(name=n, synonyms=s) for n, s, _ in LVIS], [False, False, False, True, True]),
        # What the base file lacks, or calls rare, is novel, whatever the vocabulary says.
        ([dict(name=n, frequency='r') for n in ('Television set', 'owl')], [False, True]),
    ],
)
def test_base_words(encode, tmp_path, words, novel):
    base, vocabulary = tmp_path / 'lvis.json', tmp_path / 'words.json'
    base.write_text(json.dumps([dict(name=n, synonyms=s, frequency=f) for n, s, f in LVIS]))
    vocabulary.write_text(json.dumps(words))
    assert encode(vocabulary, '--base', base).novel.tolist() == novel


def test_novel_words(encode, tmp_path, capsys):
    words = tmp_path / 'coco.json'
    names = ('red heart', 'owl', 'tow_truck')
    content = [{'id': i, 'name': name} for i, name in enumerate(names)]
    words.write_text(json.dumps({'categories': content}))
    text = encode(words, '--novel', 'tow_truck', 'red heart')
    assert text.names == names and text.novel.tolist() == [True, False, True]
    for wrong, message in (
        (('pear', 'owl'), r"these --novel categories are not in .*: \['pear'\]"),
        (('owl', '--base', words), 'not allowed with'),
    ):
        with pytest.raises(SystemExit):
            encode(words, '--novel', *wrong)
        assert re.search(message, capsys.readouterr().err)


def test_without_a_network(encode, monkeypatch):
    """One line, in place of a traceback."""
    monkeypatch.setattr('open_clip.download_pretrained', lambda _: 1 / 0)
    with pytest.raises(SystemExit) as stop:
        encode('VOCDataset', '--model', 'RN50-quickgelu', pretrained='openai')
    assert re.fullmatch(
        r".*: the weights 'openai' of RN50-quickgelu cannot be .*--pretrained.*", stop.value.code
    )


def test_what_is_wrong_leaves_no_file(encode, tmp_path):
    vocabulary = tmp_path / 'words.json'
    vocabulary.write_text(json.dumps(CATEGORIES * 2))
    with pytest.raises(ValueError, match='more than once'):
        encode(vocabulary)
    vocabulary.write_text(json.dumps(CATEGORIES))
    with pytest.raises(ValueError, match='is neither a file nor'):
        encode(vocabulary, pretrained='absent')
    with pytest.raises(FileNotFoundError, match='no vocabulary file at .*base'):
        encode(vocabulary, '--base', tmp_path / 'base.txt')
    assert not list(tmp_path.rglob('*.npz'))


def test_takes_prompts(encode, tmp_path):
    """In place of ViLD's; of one bare prompt the embeddings are those of the names."""
    vocabulary = tmp_path / 'words.txt'
    vocabulary.write_text('red heart\napple\n')
    text = encode(vocabulary, '--template', '{}')
    assert text.templates == ('{}',)
    other = encode(vocabulary, '--template', 'a photo of {}', '--template', '{}')
    assert other.templates == ('a photo of {}', '{}')
    assert not np.allclose(text.embeddings, other.embeddings)
