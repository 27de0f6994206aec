"""Pictures in place of words."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmdet_vild.vocabulary import (
    TextEmbeddings,
    is_picture,
    load_categories,
    parse_words,
    read_examples,
)

pytestmark = pytest.mark.onedl

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a picture in it and one below it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'below').mkdir()
    cv2.imwrite('mug.png', NOISE)
    cv2.imwrite('below/cup.png', NOISE[::2])
    Path('no-picture.png').write_bytes(b'PNG')
    return tmp_path


def test_forms(folder: Path) -> None:
    """A file, a part of one, and an array; in a list, which also has words."""
    part = dict(image='mug.png', box=[-5, 2, 12.5, 99])
    words = ['cat', dict(name='my mug', examples=['mug.png', part, NOISE[:, :9]])]
    cat, mug = parse_words(words)
    assert cat['synonyms'] == ['cat'] and 'examples' not in cat
    assert (mug['name'], mug['frequency'], len(mug['synonyms'])) == ('my mug', 'r', 3)
    whole, cut, array = mug['examples']
    for example in (whole, cut):
        np.testing.assert_array_equal(example.image, NOISE)
    np.testing.assert_array_equal(array.image, NOISE[:, :9])
    boxes = [example.box.tolist() for example in mug['examples']]
    assert boxes == [[0, 0, 30, 20], [0, 2, 12.5, 20], [0, 0, 9, 20]]


def test_pictures_of_12_bits(folder: Path) -> None:
    """Are read as those that are searched."""
    deep = np.linspace(0, 4095, 600).astype(np.uint16).reshape(20, 30)
    cv2.imwrite('deep.png', deep)
    (example,) = read_examples(dict(examples=['deep.png']), 'it')['examples']
    np.testing.assert_array_equal(example.image[..., 0], deep >> 4)


def test_names(folder: Path) -> None:
    """They depend on what is shown, not on where it comes from; a picture counts once."""
    part = dict(image=NOISE, box=[0, 0, 9, 20])
    examples = ['mug.png', Path('mug.png'), NOISE, part, NOISE[:, :9], NOISE[::-1]]
    read = read_examples(dict(examples=examples), 'it')
    names = [example.name for example in read['examples']]
    assert names == read['synonyms'] and len(set(names)) == len(names) == 4
    assert all(map(is_picture, names))
    assert not any(map(is_picture, ('cat', 'picture:', 'a ' + names[0], names[0] + 'a')))
    words = [['cat'], names[:2], [names[0], 'cat']]
    text = TextEmbeddings(np.eye(3), ('a', 'b', 'c'), [False] * 3, 't', words)
    assert text.pictures.tolist() == [False, True, False]
    text.save('text.npz')
    assert TextEmbeddings.load('text.npz').pictures.tolist() == [False, True, False]
    assert not TextEmbeddings(np.eye(3), ('a', 'b', 'c'), [False] * 3, 't').pictures.any()


def test_in_a_file(folder: Path) -> None:
    """Paths begin where the file is."""
    content = [
        dict(name='cat'),
        dict(name='cup', examples=['cup.png'], frequency='c'),
        dict(name='mug', examples=['cup.png'], frequency=None),
    ]
    Path('below/words.json').write_text(json.dumps(content))
    cat, cup, mug = load_categories('below/words.json')
    np.testing.assert_array_equal(cup['examples'][0].image, NOISE[::2])
    assert [each['frequency'] for each in (cat, cup, mug)] == [None, 'c', 'r']
    assert 'examples' not in cat


@pytest.mark.parametrize(
    ('examples', 'error', 'message'),
    [
        ('mug.png', ValueError, 'word 1 of 1: "examples" must be a list .*, found \'mug.png\''),
        ([], ValueError, r'must be a list of pictures .*, found \[\]'),
        (NOISE, ValueError, r'must be a list .*, found an array of shape \(20, 30, 3\)'),
        (['absent.png'], FileNotFoundError, 'word 1 of 1: there is no picture at absent.png'),
        (['below'], FileNotFoundError, 'there is no picture at below'),
        (['no-picture.png'], ValueError, 'no-picture.png cannot be read as a picture'),
        ([NOISE[..., 0]], ValueError, 'a picture cannot be read .* uint8 pixels, in colour'),
        ([NOISE / 255], ValueError, 'a picture cannot be read'),
        ([3], ValueError, 'an example is the path of a picture, .*, found 3'),
        ([dict(box=[0, 0, 9, 9])], ValueError, 'an example is .*, found {'),
        ([dict(image='mug.png', bbox=[0] * 4)], ValueError, 'an example is .*, found {'),
        ([dict(image='mug.png', box=[1, 2])], ValueError, r'mug.png must be 4 .*, found \[1, 2\]'),
        ([dict(image='mug.png', box='all')], ValueError, "must be 4 numbers, .*, found 'all'"),
        ([dict(image='mug.png', box=[0, 0, 9, float('nan')])], ValueError, 'must be 4 numbers'),
        (
            [dict(image='mug.png', box=[30, 0, 60, 20])],
            ValueError,
            r'of mug.png, 30 x 20 pixels, the box \[30, 0, 60, 20\] shows less than a pixel',
        ),
        ([dict(image='mug.png', box=[9, 0, 3, 9])], ValueError, 'shows less than a pixel'),
        ([np.zeros((0, 5, 3), np.uint8)], ValueError, 'a picture, 5 x 0 pixels, the box'),
    ],
)
def test_refused(folder: Path, examples: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        parse_words([dict(name='my mug', examples=examples)])


@pytest.mark.parametrize(
    ('words', 'error', 'message'),
    [
        (['My_mug'], ValueError, "words 1 and 2 of 2 are the same: 'my mug'; name each once"),
        ([dict(name='cat')], TypeError, r'found \[.*in a list, dict\(name="my mug", examples='),
        ([dict(name='a', examples=['mug.png'], box=[0] * 4)], TypeError, 'in a list, dict'),
        ([dict(name=' ', examples=['mug.png'])], ValueError, 'word 1 of 2 is empty'),
    ],
)
def test_refused_lists(folder: Path, words: list, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        parse_words([*words, dict(name='my mug', examples=['mug.png'])])


def test_words_and_pictures_under_one_name(folder: Path) -> None:
    content = [dict(name='cup', synonyms=['mug'], examples=['mug.png'])]
    Path('words.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='category 0 of words.json has both "synonyms" and "exam'):
        load_categories('words.json')
