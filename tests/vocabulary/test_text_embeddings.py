"""The text-embedding file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_vild.vocabulary import TextEmbeddings, readable_name, same_space, same_teacher

pytestmark = pytest.mark.onedl


def make(names=('cat', 'tow truck'), width=4) -> TextEmbeddings:
    rng = np.random.default_rng(0)
    novel = np.arange(len(names)) % 2 == 1
    synonyms = tuple((name, f'a {name}') for name in names)
    embeddings = rng.normal(size=(len(names), width))
    return TextEmbeddings(embeddings, names, novel, 'clip@1', synonyms, ('a photo of {}.', '{}'))


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.text(st.characters(exclude_characters='\0'), min_size=1),
        min_size=1,
        unique_by=readable_name,
    )
)
def test_round_trip(tmp_path_factory, names):
    text = make(tuple(names))
    path = str(tmp_path_factory.mktemp('text') / 'sub' / 'text.npz')
    text.save(path)
    found = TextEmbeddings.load(path)
    assert found.names == text.names and found.teacher == 'clip@1'
    np.testing.assert_array_equal(found.embeddings, text.embeddings)
    np.testing.assert_array_equal(found.novel, text.novel)
    assert found.embed_dims == 4
    assert found.synonyms == text.synonyms and found.templates == text.templates


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(embeddings=np.ones(3)), r'found embeddings of shape \(3,\), 2 names'),
        (dict(names=('cat',)), r'shape \(2, 4\), 1 names'),
        (dict(novel=np.zeros(3, bool)), r'novel mask of shape \(3,\)'),
        (dict(names=('tow truck', 'Tow_truck')), r"unique, found \['Tow_truck', 'tow truck'\]"),
        (dict(synonyms=(('cat',),)), 'synonyms of 1 categories; expected .* one a category'),
        (dict(synonym_embeddings=np.ones((1, 4))), r'of synonyms have shape \(1, 4\), exp.*\(0, 4'),
        (dict(synonyms=('cat', 'dog')), r"are lists of texts, found 'cat'"),
        (dict(synonyms=(('cat',), (1,))), r'are lists of texts, found \(1,\)'),
        (dict(templates='a {}'), r"are lists of texts, found 'a \{\}'"),
        (dict(embeddings=np.array([[1, 0], [0, 0]])), r"\['tow truck'\] are zero"),
        (dict(embeddings=np.array([[np.nan, 0], [0, 1]])), r"\['cat'\] are zero or not finite"),
    ],
)
def test_parts_that_do_not_fit(change, message):
    text = make()
    parts = dict(embeddings=text.embeddings, names=text.names, novel=text.novel, teacher='t')
    with pytest.raises(ValueError, match=message):
        TextEmbeddings(**{**parts, **change})


def test_a_file_that_does_not_say_its_prompts(tmp_path):
    text, path = make(), str(tmp_path / 'text.npz')
    parts = {key: np.array(getattr(text, key)) for key in ('names', 'novel', 'teacher')}
    np.savez(path, embeddings=text.embeddings, **parts)
    found = TextEmbeddings.load(path)
    assert found.names == text.names and found.synonyms == found.templates == ()


def test_files_of_another_kind(tmp_path):
    path = tmp_path / 'text.npz'
    with pytest.raises(FileNotFoundError, match=r'text.npz; write one with'):
        TextEmbeddings.load(str(path))
    for write in (
        lambda file: np.savez(file, embeddings=np.ones((1, 2))),
        lambda file: np.save(file, np.ones(3)),
    ):
        with open(path, 'wb') as file:
            write(file)
        with pytest.raises(ValueError, match='not a text-embedding file'):
            TextEmbeddings.load(str(path))


def test_an_interrupted_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = str(tmp_path / 'text.npz')
    make().save(path)

    def fail(*args, **kwargs):
        raise OSError('disk full')

    monkeypatch.setattr(np, 'savez', fail)
    with pytest.raises(OSError, match='disk full'):
        make(('other', 'names')).save(path)
    assert TextEmbeddings.load(path).names == ('cat', 'tow truck')


@pytest.mark.parametrize(
    ('one', 'other', 'same'),
    [
        ('a@1', 'a@1', True),
        ('a@1', 'a@2', False),
        ('a@1', 'b@1', False),
        ('a', 'a@1', True),
        ('a', 'ab@1', False),
    ],
)
def test_same_teacher(one, other, same):
    assert same_teacher(one, other) == same_teacher(other, one) == same
    assert same_space(one, other) == same


@pytest.mark.parametrize(
    ('regions', 'words', 'fits'),
    [
        ('a@1+2', 'a@1', True),  # whose image encoder was tuned since
        ('a@1+2', 'a@1+2', True),
        ('a@1+2', 'a', True),
        ('a@1', 'a@1+2', False),
        ('a@1+2', 'a@1+3', False),
        ('a@1+2', 'a@2', False),
        ('a@1+2', 'b@1', False),
    ],
)
def test_words_of_the_raw_teacher_fit_regions_of_the_tuned_one(regions, words, fits):
    assert same_space(regions, words) == fits
