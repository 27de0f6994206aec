"""Which names are drawn for segments."""

import numpy as np
import pytest

from mmdet_vild.datasets import DrawSynonyms
from mmdet_vild.datasets.draw_synonyms import synonym_scores
from mmdet_vild.embedding_store import EmbeddingRecord
from mmdet_vild.vocabulary import TextEmbeddings

#: Three names of category 0 and one of category 1.
NAMES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], np.float32)


class Store:
    teacher, path = 'teacher@0', 'memory'

    def __init__(self, rows) -> None:
        boxes = np.zeros((len(rows), 4), np.float32)
        self.record = EmbeddingRecord(boxes, np.ones(len(rows)), np.array(rows, np.float16))

    def read(self, results: dict) -> EmbeddingRecord:
        return self.record


@pytest.fixture
def path(tmp_path) -> str:
    synonyms = [['a', 'b', 'c'], ['d']]
    text = (NAMES[[0, 3]], ['a', 'd'], [False, False], 'teacher@0', synonyms, ['{}'], NAMES)
    TextEmbeddings(*text).save(str(tmp_path / 'words.npz'))
    return str(tmp_path / 'words.npz')


def sample(labels, rows) -> dict:
    boxes = np.zeros((len(rows), 4), np.float32)
    return dict(
        img_id=1, gt_bboxes_labels=np.array(labels), segment_rows=np.array(rows),
        segment_boxes=boxes,
    )  # fmt: skip


def drawn(transform, labels, rows) -> set:
    return {tuple(transform(sample(labels, rows))['segment_synonyms'].tolist()) for _ in range(200)}


def test_draws_what_is_probable_enough(path):
    """Segments 0 and 1, in another order than the store has them; a temperature of 1."""
    store = Store([[2, 2, -9], [0, 0, 1]])
    found = drawn(DrawSynonyms(path, store, temperature=0.5), [1, 0], [1, 0])
    assert found == {(0, 0), (0, 1)}


def test_takes_the_most_probable_where_none_is_probable_enough(path):
    store = Store([[3, 2.9, 2.8]])
    assert drawn(DrawSynonyms(path, store, 0.5, 1.0), [0], [0]) == {(0,)}
    assert drawn(DrawSynonyms(path, store, 0.1, 1.0), [0], [0]) == {(0,), (1,), (2,)}


def test_draws_any_name_without_a_store(path):
    assert drawn(DrawSynonyms(path), [0, 1], [0, 1]) == {(0, 0), (1, 0), (2, 0)}
    assert DrawSynonyms(path)(sample([], []))['segment_synonyms'].shape == (0,)


def test_scores_are_a_softmax():
    found = synonym_scores(np.array([3.0, 4.0, 0.0]), NAMES[:3].astype(float), 0.5)
    expected = np.exp(np.array([0.6, 0.8, 0]) / 0.5)
    np.testing.assert_allclose(found, expected / expected.sum())


def test_refuses_what_does_not_fit(path, tmp_path):
    other = Store([[1, 0, 0]])
    other.teacher = 'another@1'
    with pytest.raises(ValueError, match='from one teacher'):
        DrawSynonyms(path, other)
    other.teacher = f'{TextEmbeddings.load(path).teacher}+1'  # tuned since it encoded them
    DrawSynonyms(path, other)
    with pytest.raises(ValueError, match='label 2, but'):
        DrawSynonyms(path)(sample([2], [0]))
    TextEmbeddings(NAMES[:1], ['a'], [False], 't').save(str(tmp_path / 'b.npz'))
    with pytest.raises(ValueError, match='average of synonyms alone'):
        DrawSynonyms(str(tmp_path / 'b.npz'))
