"""Words to text embeddings."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hash_teacher import OWN, OWN_NOVEL, TEMPLATES, encode
from mmengine.logging import MMLogger
from small_models import TEACHER

from mmdet_vild.models.detectors import WordEncoder, word_encoder
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings, load_categories, parse_words

pytestmark = pytest.mark.onedl

VOCABULARY = encode(OWN, TEMPLATES, novel=OWN_NOVEL)


@pytest.fixture
def warnings(monkeypatch) -> list:
    said = []
    monkeypatch.setattr(MMLogger, 'warning', lambda _, message: said.append(message))
    return said


def refuse(*_, **__):
    raise PermissionError('read-only file system')


def ask(words, custom_entities=True, vocabulary=VOCABULARY, teacher='HashTeacher', **options):
    config = teacher and dict(type=teacher, **options)
    return WordEncoder(config).encode(words, custom_entities, vocabulary)


def test_each_word_has_its_row(calls):
    """The vocabulary's, whatever it is called there; those that it does not have are encoded."""
    text = ask('mugs . Tow truck . whale . couch . sofas / divan . red heart . elk / dog')
    others = [['whale'], ['sofas', 'divan'], ['elk', 'dog']]
    own, new = VOCABULARY.embeddings, encode(others, TEMPLATES).embeddings
    expected = [own[4], own[2], new[0], own[1], new[1], own[3], new[2]]
    np.testing.assert_array_equal(text.embeddings, expected)
    assert text.names == ('mugs', 'Tow truck', 'whale', 'couch', 'sofas', 'red heart', 'elk')
    assert text.novel.tolist() == [True, False, True, False, False, True, False]
    assert text.synonyms[:2] == (('cup', 'mug'), ('tow_truck', 'red heart'))
    assert text.synonyms[3:5] == (('sofa', 'couch'), ('sofas', 'divan'))
    assert text.templates == TEMPLATES and text.teacher == TEACHER
    assert calls == [['whale', 'sofas', 'elk']]


def test_the_cache_is_bounded(calls, monkeypatch):
    encoder = WordEncoder(dict(type='HashTeacher'))
    monkeypatch.setattr(word_encoder, 'ENCODED', 3)
    for words in (['first'], ['b', 'first'], ['c', 'b'], ['first', 'd'], ['c', 'b']):
        encoder.words(words, True, VOCABULARY)
    # 'c' went when 'd' came, but that question was asked lately
    assert calls == [['first'], ['b'], ['c'], ['d']]
    encoder.words(['c'], True, VOCABULARY)
    assert calls[4:] == [['c']]
    for i in range(word_encoder.QUESTIONS):
        encoder.words([f'{i}'], True, VOCABULARY)
    assert len(encoder._questions) == word_encoder.QUESTIONS and len(encoder._encoded) == 3


class TestPictures:
    """In place of words."""

    @pytest.fixture(autouse=True)
    def pictures(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for name, value in (('mug.png', 10), ('cup.png', 200)):
            cv2.imwrite(name, np.full((9, 9, 3), value, np.uint8))

    def test_beside_words(self, calls):
        """Never a category of the vocabulary, whatever it is called; nobody annotated it."""
        words = ['couch', dict(name='dog', examples=['mug.png', 'cup.png']), 'whale']
        text = ask(words)
        named = parse_words(words)[1]['synonyms']
        new = encode([['dog', *named][1:], ['whale']], TEMPLATES).embeddings
        np.testing.assert_array_equal(text.embeddings, [VOCABULARY.embeddings[1], *new])
        assert text.pictures.tolist() == [False, True, False] and calls == [['dog', 'whale']]
        assert text.novel.tolist() == [False, True, True]
        # Of the vocabulary, what it is called does not compete with it.
        everything = WordEncoder(None).known(VOCABULARY).add_rivals(text)
        assert everything.names[3:] == ('tow_truck', 'red heart', 'cup')
        assert everything.pictures.tolist() == [False, True] + [False] * 4

    def test_kept_until_they_change(self, calls):
        encoder = WordEncoder(dict(type='HashTeacher'))

        def ask(example: object) -> torch.Tensor:
            words = encoder.words([dict(name='it', examples=[example])], True, VOCABULARY)
            assert words.pictures.tolist() == [True] + [False] * 5
            return words.embeddings[0]

        first = ask('mug.png')
        assert ask('mug.png') is not None and len(calls) == 1
        torch.testing.assert_close(ask(cv2.imread('mug.png')), first)
        assert len(calls) == 1  # the same picture
        assert not torch.equal(ask(dict(image='mug.png', box=[0, 0, 5, 9])), first)
        cv2.imwrite('mug.png', np.zeros((9, 9, 3), np.uint8))
        assert not torch.equal(ask('mug.png'), first) and len(calls) == 3
        # Arrays so large that Python leaves most of them out when it shows them.
        large = [np.zeros((99, 99, 3), np.uint8) for _ in range(2)]
        large[1][50, 50] = 255
        assert not torch.equal(*map(ask, large))

    def test_in_a_file(self, calls):
        """Encoded again when a picture has changed, though the file has not."""
        content = [dict(name='whale'), dict(name='it', examples=['mug.png'])]
        Path('words.json').write_text(json.dumps(content))
        encoder = WordEncoder(dict(type='HashTeacher'))
        found = [encoder.words('words.json', False, VOCABULARY).embeddings[:2] for _ in range(2)]
        torch.testing.assert_close(*found)
        without = WordEncoder(None).words('words.json', False, VOCABULARY).embeddings[:2]
        torch.testing.assert_close(without, found[0])  # stored beside it
        assert len(calls) == 1
        cv2.imwrite('mug.png', np.zeros((9, 9, 3), np.uint8))
        again = encoder.words('words.json', False, VOCABULARY).embeddings
        assert torch.equal(again[0], found[0][0]) and not torch.equal(again[1], found[0][1])

    def test_without_a_teacher(self):
        with pytest.raises(ValueError, match=r"no teacher, and 'dog \(a picture\)' is no word"):
            ask([dict(name='dog', examples=['mug.png'])], teacher=None)


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
        # What a file brought is known without it, too.
        encoder = WordEncoder(None)
        encoder.encode(str(file), False, VOCABULARY)
        found = encoder.encode('sofa / divan', True, VOCABULARY)
        np.testing.assert_array_equal(found.embeddings, listed.embeddings[1:2])
        for count, words in ((3, 'whale\ndog\nsofa / divan\n'), (4, 'whale\ndog\nsofa / settee\n')):
            file.write_text(words)
            assert ask(str(file)).names == ('whale', 'dog', 'sofa')
            assert len(calls) == count
        other = encode(OWN, ('the {}',))
        found = ask(str(file), vocabulary=other)
        expected = encode([['whale'], ['dog'], ['sofa', 'settee']], ('the {}',))
        np.testing.assert_array_equal(found.embeddings, expected.embeddings)
        assert len(calls) == 5 and found.templates == ('the {}',)

    def test_blanks_around_the_name(self, file, calls, monkeypatch):
        monkeypatch.chdir(file.parent)
        for name in ('words.txt\n', ' words.txt'):
            assert ask(name, False).names == ('whale', 'sofa', 'dog')
            asked = WordEncoder(None).words(name, False, VOCABULARY, with_vocabulary=False)
            assert tuple(asked.names) == ('whale', 'sofa', 'dog')
        assert len(calls) == 1 and len(list(file.parent.iterdir())) == 2

    def test_damaged_and_unwritable(self, file, warnings, monkeypatch):
        expected = ask('whale . sofa / divan . dog').embeddings
        stored = file.with_name(f'words.txt.{TEACHER}.npz')
        stored.write_bytes(b'PK')
        np.testing.assert_array_equal(ask(str(file)).embeddings, expected)
        (warning,) = warnings
        assert 'encoded again' in warning and TextEmbeddings.load(str(stored))
        stored.unlink()

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

    def test_each_synonym(self, file, calls):
        """What is stored has those; an older file that has not is written anew where they count."""
        vocabulary, stored = encode(OWN, TEMPLATES, each=True), f'{file}.{TEACHER}.npz'
        expected = encode([['whale'], ['sofa', 'divan'], ['dog']], TEMPLATES, each=True)
        ask(str(file), vocabulary=vocabulary)  # by a teacher that has the averages alone
        assert TextEmbeddings.load(stored).synonym_embeddings is None
        encoder = WordEncoder(dict(type='HashTeacher', each=True))
        encoder.encode(str(file), False, vocabulary)  # what it keeps of these is not enough then
        for _ in range(2):
            found = encoder.encode(str(file), False, vocabulary, by_synonym=True)
            np.testing.assert_array_equal(found.synonym_embeddings, expected.synonym_embeddings)
            written = TextEmbeddings.load(stored)
            np.testing.assert_array_equal(written.synonym_embeddings, found.synonym_embeddings)
        assert len(calls) == 2
        teacher = dict(type='HashTeacher')
        with pytest.raises(ValueError, match='set synonyms="average" in its classifier'):
            WordEncoder(teacher).encode('dog . fox', True, vocabulary, by_synonym=True)
        encode(OWN, TEMPLATES).save(str(file.with_name('own.npz')))
        with pytest.raises(ValueError, match='own.npz has the average of synonyms alone'):
            path = str(file.with_name('own.npz'))
            WordEncoder(teacher).encode(path, False, vocabulary, by_synonym=True)

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
        ('narrow.npz', True, 'narrow.npz .* is 4 wide, the vocabulary .* and 16 wide'),
        ('words.csv', True, 'words.csv is a file, and words are read from .txt, .json, .npz'),
        ('other.npz', True, 'by the teacher teacher@1 and .*, the vocabulary .* by teacher@0'),
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


@pytest.mark.parametrize('words', [5, None, True, float('nan'), {'cat'}, ['cat', 5], b'cat'])
def test_no_words(words):
    with pytest.raises(TypeError, match='words are a text such as .*, found '):
        WordEncoder(None).words(words, True, VOCABULARY)


@pytest.mark.parametrize('custom_entities', ['no', 1, None])
def test_custom_entities_are_a_bool(custom_entities):
    encoder = WordEncoder(None)
    encoder.words('dog', True, VOCABULARY)
    for ask in (encoder.words, encoder.encode):
        with pytest.raises(TypeError, match=f'is True or False, found {custom_entities!r}; True'):
            ask('dog', custom_entities, VOCABULARY)


def test_refused_teachers():
    with pytest.raises(ValueError, match="names no teacher, and 'whale' is no word .*; ask for"):
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
            (dict(type='OpenClip'), ValueError, "no teacher of type 'OpenClip', which"),
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


def test_words_that_the_teacher_reads_as_the_same(tmp_path):
    """Also if it encoded them one by one, or one is in the vocabulary: each had half of a score."""
    weights = str(tmp_path / 'teacher.pt')
    torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), weights)
    config = dict(type='OpenCLIPTeacher', model_name='mini-clip', pretrained=weights)
    own = [dict(name=name, synonyms=[name], frequency=None) for name in ('fish', 'cat')]
    vocabulary = OpenCLIPTeacher('mini-clip', weights).encode_categories(own)
    encoder = WordEncoder(config)
    for words in (['salt & mill', 'salt &amp; mill'], ['fish', 'fish&nbsp;']):
        one, other = (encoder.encode([word], True, vocabulary).embeddings for word in words)
        np.testing.assert_allclose(one, other, atol=1e-6)
        with pytest.raises(ValueError, match=f'mini-clip reads {words[0]!r} and {words[1]!r} as'):
            encoder.encode(words, True, vocabulary)
