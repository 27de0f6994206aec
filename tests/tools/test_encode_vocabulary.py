"""The text-encoder tool, on every form of vocabulary."""

import json
import re
import runpy
import sys
from pathlib import Path

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


def encode(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


@pytest.mark.parametrize('form', ['list', 'annotations', 'txt'])
def test_encodes(weights, tmp_path, monkeypatch, capsys, form):
    vocabulary = tmp_path / ('words.txt' if form == 'txt' else 'words.json')
    if form == 'txt':
        vocabulary.write_text('red heart\napple\n')
    else:
        annotations = {'categories': CATEGORIES, 'images': [], 'annotations': []}
        vocabulary.write_text(json.dumps(CATEGORIES if form == 'list' else annotations))
    out = tmp_path / 'new folder' / 'text.npz'
    encode(monkeypatch, vocabulary, '--model', 'mini-clip', '--pretrained', weights, '--out', out)
    text = TextEmbeddings.load(str(out))
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


def test_a_dataset_class(weights, tmp_path, monkeypatch, capsys):
    """Another dataset's categories, of which the detector has learned one."""
    base, out = tmp_path / 'base.txt', tmp_path / 'voc.npz'
    base.write_text('bird\n')
    arguments = ('--base', base, '--model', 'mini-clip', '--pretrained', weights, '--out', out)
    encode(monkeypatch, 'VOCDataset', *arguments)
    text = TextEmbeddings.load(str(out))
    assert text.names == VOCDataset.METAINFO['classes']
    assert text.synonyms[10] == ('dining table',)
    assert np.flatnonzero(~text.novel).tolist() == [2]


@pytest.mark.parametrize('form', ['txt', 'list'])
def test_base_words(weights, tmp_path, monkeypatch, capsys, form):
    """What the base file lacks, or calls rare, is novel, whatever the vocabulary says."""
    words, base = tmp_path / f'words.{form}', tmp_path / f'base.{form}'
    if form == 'txt':
        words.write_text('red heart\nowl\nTow truck\n')
        base.write_text('tow_truck\nred heart\npear\n')
    else:
        words.write_text(
            json.dumps([{'name': n, 'frequency': 'r'} for n in ('red heart', 'owl', 'Tow truck')])
        )
        known = [{'name': n, 'frequency': 'f'} for n in ('tow_truck', 'red heart', 'pear')]
        base.write_text(json.dumps([*known, {'name': 'owl', 'frequency': 'r'}]))
    out = tmp_path / 'text.npz'
    arguments = ('--base', base, '--model', 'mini-clip', '--pretrained', weights, '--out', out)
    encode(monkeypatch, words, *arguments)
    text = TextEmbeddings.load(str(out))
    assert text.names == ('red heart', 'owl', 'Tow truck')
    assert text.novel.tolist() == [False, True, False]
    assert '3 categories (1 novel)' in capsys.readouterr().out
    base.unlink()
    with pytest.raises(FileNotFoundError, match='no vocabulary file at .*base'):
        encode(monkeypatch, words, *arguments)


#: Of LVIS: a base category that a name in brackets, or a synonym, stands for; and two bows.
LVIS = [
    ('car_(automobile)', ['car_(automobile)', 'auto_(automobile)'], 'f'),
    ('television_set', ['television_set', 'tv', 'tv_set'], 'f'),
    ('bow_(decorative_ribbons)', ['bow_(decorative_ribbons)'], 'c'),
    ('bow_(weapon)', ['bow_(weapon)'], 'r'),
    ('steak_knife', ['steak_knife', 'tv set'], 'r'),
]


def test_base_words_by_any_name(weights, tmp_path, monkeypatch):
    """COCO's car is LVIS's car_(automobile); of two meanings, one of them novel, none is sure."""
    base, words, out = (tmp_path / name for name in ('lvis.json', 'words.json', 'text.npz'))
    base.write_text(json.dumps([dict(name=n, synonyms=s, frequency=f) for n, s, f in LVIS]))
    arguments = ('--base', base, '--model', 'mini-clip', '--pretrained', weights, '--out', out)
    for asked, novel in (
        ([dict(name=n) for n in ('Car', 'tv', 'bow', 'owl')], [False, False, True, True]),
        ([dict(name='owl', synonyms=['owl', 'auto'])], [False]),
        ([dict(name=n, synonyms=s) for n, s, _ in LVIS], [False, False, False, True, True]),
    ):
        words.write_text(json.dumps(asked))
        encode(monkeypatch, words, *arguments)
        assert TextEmbeddings.load(str(out)).novel.tolist() == novel


def test_novel_words(weights, tmp_path, monkeypatch, capsys):
    words, out = tmp_path / 'coco.json', tmp_path / 'text.npz'
    names = ('red heart', 'owl', 'tow_truck')
    content = [{'id': i, 'name': name} for i, name in enumerate(names)]
    words.write_text(json.dumps({'categories': content}))
    arguments = ('--model', 'mini-clip', '--pretrained', weights, '--out', out)
    encode(monkeypatch, words, *arguments, '--novel', 'tow_truck', 'red heart')
    text = TextEmbeddings.load(str(out))
    assert text.names == names and text.novel.tolist() == [True, False, True]
    for wrong, message in (
        (('pear', 'owl'), r"these --novel categories are not in .*: \['pear'\]"),
        (('owl', '--base', words), 'not allowed with'),
    ):
        with pytest.raises(SystemExit):
            encode(monkeypatch, words, *arguments, '--novel', *wrong)
        assert re.search(message, capsys.readouterr().err)


def test_without_a_network(tmp_path, monkeypatch):
    """One line, in place of a traceback."""
    monkeypatch.setattr('open_clip.download_pretrained', lambda _: 1 / 0)
    arguments = ('--model', 'RN50-quickgelu', '--pretrained', 'openai', '--out', tmp_path / 'x.npz')
    with pytest.raises(SystemExit) as stop:
        encode(monkeypatch, 'VOCDataset', *arguments)
    assert re.fullmatch(
        r".*: the weights 'openai' of RN50-quickgelu cannot be .*--pretrained.*", stop.value.code
    )


def test_what_is_wrong_leaves_no_file(weights, tmp_path, monkeypatch):
    vocabulary = tmp_path / 'words.json'
    vocabulary.write_text(json.dumps(CATEGORIES * 2))
    out = tmp_path / 'text.npz'
    with pytest.raises(ValueError, match='more than once'):
        encode(
            monkeypatch, vocabulary, '--model', 'mini-clip', '--pretrained', weights, '--out', out
        )
    vocabulary.write_text(json.dumps(CATEGORIES))
    with pytest.raises(ValueError, match='is neither a file nor'):
        encode(
            monkeypatch, vocabulary, '--model', 'mini-clip', '--pretrained', 'absent', '--out', out
        )
    assert not out.exists()
