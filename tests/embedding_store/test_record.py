"""What a record is on disk, byte by byte, and which are refused."""

import struct

import numpy as np
import pytest

from mmdet_vild.embedding_store import EmbeddingRecord

BOXES = np.arange(12, dtype=np.float32).reshape(3, 4)
SCORES = np.array([0.25, 0.75, 0.5], np.float32)
EMBEDDINGS = np.array([[0.5, -1], [1, 0], [0, 2]], np.float32)
WEIGHTS = np.array([1.5, 0, 3], np.float32)
ANNOTATED = np.array([True, False, False])
ORDER = (1, 2, 0)


def expected_bytes(*columns):
    """Of each column a format and rows, in descending order of the scores."""
    return b''.join(
        struct.pack(f'<{form}', *np.atleast_1d(rows[i])) for form, rows in columns for i in ORDER
    )


def test_bytes_in_descending_order():
    record = EmbeddingRecord(BOXES, SCORES, EMBEDDINGS, WEIGHTS, ANNOTATED)
    columns = [('4f', BOXES), ('f', SCORES), ('f', WEIGHTS), ('2e', EMBEDDINGS), ('?', ANNOTATED)]
    data = record.to_bytes()
    assert data == expected_bytes(*columns)
    found = EmbeddingRecord.from_bytes(data, 3, 2)
    assert [a.dtype for a in vars(found).values()] == ['f4', 'f4', 'f2', 'f4', bool]
    for name, array in vars(found).items():
        np.testing.assert_array_equal(array, getattr(record, name)[[*ORDER]])
    with pytest.raises(ValueError, match='expected 87 bytes for 3 regions of width 2, found 86'):
        EmbeddingRecord.from_bytes(data[:-1], 3, 2)


def test_bytes_of_version_2():
    """They do not say what is annotated, nor did the release that began such a store."""
    record = EmbeddingRecord(BOXES, SCORES, EMBEDDINGS, WEIGHTS, ANNOTATED)
    data = record.to_bytes(version=2)
    columns = [('4f', BOXES), ('f', SCORES), ('f', WEIGHTS), ('2e', EMBEDDINGS)]
    assert data == expected_bytes(*columns)
    found = EmbeddingRecord.from_bytes(data, 3, 2, version=2)
    np.testing.assert_array_equal(found.weights, WEIGHTS[[*ORDER]])
    assert found.annotated.tolist() == [False] * 3


def test_bytes_of_version_1():
    """They have no weights, which are 1."""
    record = EmbeddingRecord(BOXES, SCORES, EMBEDDINGS)
    data = record.to_bytes(version=1)
    assert data == expected_bytes(('4f', BOXES), ('f', SCORES), ('2e', EMBEDDINGS))
    found = EmbeddingRecord.from_bytes(data, 3, 2, version=1)
    np.testing.assert_array_equal(found.embeddings, EMBEDDINGS[[*ORDER]])
    assert found.weights.dtype == np.float32 and found.weights.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match='version 1 cannot hold weights other than 1'):
        EmbeddingRecord(BOXES, SCORES, EMBEDDINGS, WEIGHTS).to_bytes(version=1)


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('boxes', BOXES[:, :3], r"'boxes': \(3, 3\)"),
        ('scores', SCORES[:2], r"'scores': \(2,\)"),
        ('embeddings', EMBEDDINGS[:, :1], r"'embeddings': \(3, 1\).*another teacher"),
        ('weights', WEIGHTS[:2], r"'weights': \(2,\)"),
        ('boxes', BOXES * np.nan, 'the boxes hold NaN'),
        ('scores', SCORES * np.inf, 'the scores hold NaN'),
        ('embeddings', EMBEDDINGS + np.inf, 'the embeddings hold NaN'),
        ('weights', WEIGHTS + np.inf, 'the weights hold NaN'),
        ('weights', WEIGHTS.astype(str), 'the weights hold NaN, infinity or no numbers'),
        ('scores', SCORES.astype(object), 'the scores hold NaN, infinity or no numbers'),
        (
            'embeddings',
            EMBEDDINGS * [[1], [1], [0]],
            'that of region 2 has the length 0, .* 0; exp',
        ),
        ('embeddings', EMBEDDINGS * 1e-9, r'region 0 has the length 1.12e-09, .* stored, 0; exp'),
        ('embeddings', EMBEDDINGS * 4e-8, r'region 0 has the length 4.47e-08, .* stored, 5.96e-08'),
        ('embeddings', EMBEDDINGS * 1e6, r'region 0 has the length 1.12e\+06, .* stored, inf; exp'),
        ('weights', -WEIGHTS, r'a weight is -3\.0; expected at least 0'),
    ],
)
def test_what_does_not_fit_is_refused(name, value, message):
    arrays = dict(boxes=BOXES, scores=SCORES, embeddings=EMBEDDINGS, weights=WEIGHTS)
    EmbeddingRecord(**arrays).check('it', 2)
    with pytest.raises(ValueError, match=f'it: .*{message}'):
        EmbeddingRecord(**arrays | {name: value}).check('it', 2)
