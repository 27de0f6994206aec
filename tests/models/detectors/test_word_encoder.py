"""Words to text embeddings."""

import numpy as np
import pytest
import torch
from hash_teacher import TEMPLATES, HashTeacher, encode
from mmengine.logging import MMLogger
from small_models import TEACHER

from mmdet_vild.models.detectors import WordEncoder, word_encoder
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings, load_categories

pytestmark = pytest.mark.onedl

#: One is a synonym of a base category and the name of a novel one.
OWN = [['dog'], ['sofa', 'couch'], ['tow_truck', 'red heart'], ['red heart'], ['cup', 'mug']]
VOCABULARY = encode(OWN, TEMPLATES, novel=[False, False, False, True, True])


@pytest.fixture(autouse=True)
def calls() -> list:
    """The words that the teacher encoded, at each call."""
    HashTeacher.calls = []
    return HashTeacher.calls


@pytest.fixture
def warnings(monkeypatch) -> list:
    said = []
    monkeypatch.setattr(MMLogger, 'warning', lambda _, message: said.append(message))
    return said


def ask(words, custom_entities=True, vocabulary=VOCABULARY, teacher='HashTeacher', **options):
    config = teacher and dict(type=teacher, **options)
    return WordEncoder(config).encode(words, custom_entities, vocabulary)


def test_each_word_has_its_row(calls):
    """The vocabulary's, whatever it is called there; those that it does not have are encoded."""
    text = ask('mugs . Tow truck . whale . couch / sofa . sofa / divan . red heart . elk / dog')
    others = [['whale'], ['sofa', 'divan'], ['elk', 'dog']]
    own, new = VOCABULARY.embeddings, encode(others, TEMPLATES).embeddings
    expected = [own[4], own[2], new[0], own[1], new[1], own[3], new[2]]
    np.testing.assert_array_equal(text.embeddings, expected)
    assert text.names == ('mugs', 'Tow truck', 'whale', 'couch', 'sofa', 'red heart', 'elk')
    assert text.novel.tolist() == [True, False, True, False, False, True, False]
    assert text.synonyms[:2] == (('cup', 'mug'), ('tow_truck', 'red heart'))
    assert text.synonyms[3:5] == (('sofa', 'couch'), ('sofa', 'divan'))
    assert text.templates == TEMPLATES and text.teacher == TEACHER
    assert calls == [['whale', 'sofa', 'elk']]


def test_the_cache_is_bounded(calls, monkeypatch):
    encoder = WordEncoder(dict(type='HashTeacher'))
    monkeypatch.setattr(word_encoder, 'ENCODED', 3)
    for words in (['first'], ['b', 'first'], ['c', 'b'], ['first', 'd'], ['first']):
        encoder.words(words, True, VOCABULARY)
    # 'first' went when 'd' came, but was asked for lately
    assert calls == [['first'], ['b'], ['c'], ['d']]
    encoder.words(['first', 'c'], True, VOCABULARY)
    assert calls[4:] == [['first']]
    for i in range(word_encoder.QUESTIONS):
        encoder.words([f'{i}'], True, VOCABULARY)
    assert len(encoder._questions) == word_encoder.QUESTIONS and len(encoder._encoded) == 3


class TestFiles:
    @pytest.fixture
    def file(self, tmp_path):
        (tmp_path / 'words.txt').write_text('whale\nsofa / divan\ndog\n')
        return tmp_path / 'words.txt'

    def test_stored_beside(self, file, calls):
        """Once, until the words or the templates change; any detector of this teacher reads it."""
        found, listed = ask(str(file), False), ask('whale . sofa / divan . dog')
        stored = TextEmbeddings.load(f'{file}.{TEACHER}.npz')
        for text in (found, stored, ask(str(file), teacher=None)):
            np.testing.assert_array_equal(text.embeddings, listed.embeddings)
            assert text.names == ('whale', 'sofa', 'dog') and text.synonyms == listed.synonyms
        assert len(calls) == 2
        for count, words in ((3, 'whale\ndog\nsofa / divan\n'), (4, 'whale\ndog\nsofa / settee\n')):
            file.write_text(words)
            assert ask(str(file)).names == ('whale', 'dog', 'sofa')
            assert len(calls) == count
        other = encode(OWN, ('the {}',))
        found = ask(str(file), vocabulary=other)
        expected = encode([['whale'], ['dog'], ['sofa', 'settee']], ('the {}',))
        np.testing.assert_array_equal(found.embeddings, expected.embeddings)
        assert len(calls) == 5 and found.templates == ('the {}',)

    def test_damaged_and_unwritable(self, file, warnings, monkeypatch):
        expected = ask('whale . sofa / divan . dog').embeddings
        stored = file.with_name(f'words.txt.{TEACHER}.npz')
        stored.write_bytes(b'PK')
        np.testing.assert_array_equal(ask(str(file)).embeddings, expected)
        (warning,) = warnings
        assert 'encoded again' in warning and TextEmbeddings.load(str(stored))
        stored.unlink()

        def refuse(*_):
            raise PermissionError('read-only file system')

        monkeypatch.setattr(TextEmbeddings, 'save', refuse)
        np.testing.assert_array_equal(ask(str(file)).embeddings, expected)
        assert 'cannot be stored at' in warnings[1] and 'read-only' in warnings[1]

    def test_ready_embeddings(self, tmp_path, calls):
        """As they are, also of a word of the vocabulary."""
        path = str(tmp_path / 'ready.npz')
        ready = encode([['whale'], ['dog']], novel=[False, True])
        ready.save(path)
        found = ask(path, False, teacher=None)
        np.testing.assert_array_equal(found.embeddings, ready.embeddings)
        assert found.novel.tolist() == [False, True] and not calls

    @pytest.mark.parametrize('file', ['words.txt', None])
    def test_the_callers_autocast_changes_nothing(self, tmp_path, monkeypatch, file):
        """Not even what is stored, as test.py runs a detector in half precision."""
        monkeypatch.chdir(tmp_path)
        torch.manual_seed(0)
        torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), 'teacher.pt')
        teacher = OpenCLIPTeacher('mini-clip', 'teacher.pt')
        (tmp_path / 'own.txt').write_text('dog\n')
        own = teacher.encode_categories(load_categories('own.txt'))
        options = dict(teacher='OpenCLIPTeacher', model_name='mini-clip', pretrained='teacher.pt')
        found = []
        for enabled in (False, True):
            (tmp_path / 'words.txt').write_text('whale\ntoy elephant\n')
            with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
                text = ask(file or 'whale . toy elephant', vocabulary=own, **options)
            found.append(text.embeddings)
            for stored in tmp_path.glob('words.txt.*.npz'):
                found.append(TextEmbeddings.load(str(stored)).embeddings)
                stored.unlink()
        assert len(found) == (4 if file else 2)
        for embeddings in found[1:]:
            np.testing.assert_array_equal(embeddings, found[0])


@pytest.mark.parametrize(
    ('text', 'custom_entities', 'message'),
    [
        ('a cat on a mat', False, r'set custom_entities=True \(-c of the image demo\)'),
        ('cat . cat', True, 'words 1 and 2 of 2 are the same'),
        ('couch . sofa', True, "'couch' and 'sofa' are one category of the vocabulary, 'sofa'"),
        ('', True, 'there is no word'),
        ('absent.txt', True, 'no vocabulary file at absent.txt'),
        ('absent.npz', True, 'no text-embedding file at absent.npz'),
        ('narrow.npz', True, 'narrow.npz are 4 wide, those of the vocabulary of the detector 16'),
        ('words.csv', True, 'words.csv is a file, and words are read from .txt, .json, .npz'),
        ('other.npz', True, 'was encoded by the teacher teacher@1, the vocabulary .* by teacher@0'),
    ],
)
def test_refused_words(tmp_path, monkeypatch, text, custom_entities, message):
    monkeypatch.chdir(tmp_path)
    encode([['cat']], teacher='teacher@1').save('other.npz')
    narrow = TextEmbeddings(np.ones((1, 4)), ('cat',), np.array([True]), TEACHER)
    narrow.save('narrow.npz')
    (tmp_path / 'words.csv').write_text('cat')
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        ask(text, custom_entities)


def test_refused_teachers():
    with pytest.raises(
        ValueError, match="1 of 2 words .* such as 'whale', and its config names no"
    ):
        ask('dog . whale', teacher=None)
    ask('dog . cups', teacher=None)  # words that it has
    with pytest.raises(ValueError, match='the teacher is teacher@1, but teacher@0 encoded'):
        ask('whale', identity='teacher@1')


def test_words_of_a_teacher_of_unknown_weights():
    """Such as the authors' text embeddings; a model of that name encodes the others."""
    own = encode(OWN, TEMPLATES, teacher=TEACHER.split('@')[0])
    expected = encode([['dog'], ['whale']], TEMPLATES)
    found = ask('dog . whale', vocabulary=own)
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)
    with pytest.raises(ValueError, match=f'the teacher is {TEACHER}, but other encoded'):
        ask('whale', vocabulary=encode(OWN, TEMPLATES, teacher='other'))


class TestCheck:
    """Of a teacher that is needed later."""

    MINI = dict(type='OpenCLIPTeacher', model_name='mini-clip')

    @pytest.mark.parametrize(
        ('config', 'error', 'message'),
        [
            (
                dict(type='OpenClipTeacher'),
                ValueError,
                "no teacher of type 'OpenClipTeacher', wh",
            ),
            (dict(model_name='mini-clip'), ValueError, 'no teacher of type None'),
            (dict(MINI, model='a'), TypeError, "unexpected keyword argument 'model'"),
            (dict(MINI, model_name='mini-clop'), ValueError, "open_clip has no model 'mini-clop'"),
            (dict(MINI, pretrained='absent.pt'), ValueError, "'absent.pt' is neither a file nor"),
            (dict(MINI, model_config='absent.json'), FileNotFoundError, 'config at absent.json'),
            (dict(MINI, crop_mode='round'), ValueError, "crop_mode .* must be .* found 'round'"),
            (dict(MINI, model_name='ViT-B-32'), ValueError, 'is ViT-B-32, but mini-clip@0 encoded'),
        ],
    )
    def test_refused(self, config, error, message):
        with pytest.raises(error, match=message):
            WordEncoder(config).check(encode(OWN, teacher='mini-clip@0'))

    def test_accepted_without_being_built(self, tmp_path, monkeypatch):
        def refuse(*_, **__):
            raise AssertionError('this would read or download weights')

        monkeypatch.setattr(OpenCLIPTeacher, '__init__', refuse)
        (tmp_path / 'teacher.pt').write_bytes(b'no weights')
        own = encode(OWN, teacher='ViT-B-32-quickgelu@0')
        clip = dict(type='OpenCLIPTeacher', model_name='ViT-B-32-quickgelu')
        for config in (
            None,
            dict(clip, pretrained='openai'),
            dict(clip, type=OpenCLIPTeacher, pretrained=str(tmp_path / 'teacher.pt')),
            dict(type='HashTeacher'),  # of its own, without such a check
        ):
            WordEncoder(config).check(own)
