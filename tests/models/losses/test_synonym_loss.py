"""The losses of synonyms against NumPy, and what they are refused with."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_segmentor import CLASSES, WIDTH, write_words

from mmdet_vild.models import SynonymLoss
from mmdet_vild.vocabulary import TextEmbeddings

NAMES = 3


@pytest.fixture(scope='module')
def path(tmp_path_factory) -> str:
    return write_words(str(tmp_path_factory.mktemp('words') / 'words.npz'), NAMES)


def columns_in_order(labels, rows):
    """Rows of an image's vocabulary and each segment's column, as the authors' code makes them."""
    columns, touched, targets = [NAMES * c for c in range(CLASSES)], set(), []
    for label, row in zip(labels, rows, strict=True):
        if columns[label] == row and label in touched:
            targets.append(label)
        elif label not in touched:
            columns[label] = row
            targets.append(label)
        elif row in columns[CLASSES:]:
            targets.append(CLASSES + columns[CLASSES:].index(row))
        else:
            columns.append(row)
            targets.append(len(columns) - 1)
        touched.add(label)
    return columns, targets


@settings(max_examples=25)
@given(st.data())
def test_is_the_formula(path, data):
    way = data.draw(st.sampled_from(['random', 'max', 'mean']))
    images = data.draw(
        st.lists(st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, NAMES - 1)),
                          max_size=6), min_size=1, max_size=3)
    )  # fmt: skip
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    queries = 7
    embeddings = rng.normal(size=(len(images), queries, WIDTH))
    embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    no_object = rng.normal(size=WIDTH)
    labels = np.full((len(images), queries), CLASSES)
    rows = np.zeros_like(labels)
    names = TextEmbeddings.load(path).synonym_embeddings.astype(float)
    names /= np.linalg.norm(names, axis=1, keepdims=True)
    total = weights = 0.0
    for b, segments in enumerate(images):
        of_segments = [NAMES * label + drawn for label, drawn in segments]
        columns, targets = columns_in_order([label for label, _ in segments], of_segments)
        for q in range(queries):
            logits = names @ embeddings[b, q]
            if way == 'random':
                logits, target = logits[columns], len(columns)
            else:
                each = logits.reshape(CLASSES, NAMES)
                logits, target = each.max(1) if way == 'max' else each.mean(1), CLASSES
            if q < len(segments):
                labels[b, q], rows[b, q] = segments[q][0], of_segments[q]
                target = targets[q] if way == 'random' else segments[q][0]
            logits = np.append(logits, embeddings[b, q] @ no_object / np.linalg.norm(no_object))
            logits /= 0.1
            weight = 1.0 if q < len(segments) else 0.1
            nll = np.log(np.exp(logits).sum()) - logits[target]
            total, weights = total + weight * nll, weights + weight
    loss = SynonymLoss(path, way, loss_weight=2.0)
    found = loss(*map(torch.tensor, (embeddings, labels, rows, no_object)), 0.1)
    assert found.item() == pytest.approx(2 * total / weights, rel=1e-5)


def test_novel_categories_do_not_compete(path):
    embeddings = torch.randn(1, 4, WIDTH, dtype=torch.float64)
    labels, rows = torch.tensor([[0, 1, CLASSES, CLASSES]]), torch.tensor([[1, 3, 0, 0]])
    novel = torch.arange(CLASSES) == CLASSES - 1
    for way in ('random', 'max', 'mean'):
        loss = SynonymLoss(path, way)
        before = loss(embeddings, labels, rows, torch.ones(WIDTH), 0.1, None, novel)
        loss.names[-NAMES:] = torch.randn(NAMES, WIDTH)
        after = loss(embeddings, labels, rows, torch.ones(WIDTH), 0.1, None, novel)
        assert before == after
        assert after != loss(embeddings, labels, rows, torch.ones(WIDTH), 0.1)


def test_refuses_what_is_not_of_the_classifier(path, tmp_path):
    loss, own = SynonymLoss(path), TextEmbeddings.load(path)
    loss.check_vocabulary(own, CLASSES)
    with pytest.raises(ValueError, match='other categories'):
        loss.check_vocabulary(own, CLASSES - 1)
    other = TextEmbeddings.load(write_words(str(tmp_path / 'a.npz'), NAMES, 'another@1'))
    with pytest.raises(ValueError, match='from one teacher'):
        loss.check_vocabulary(other, CLASSES)
    alone = TextEmbeddings(own.embeddings, own.names, own.novel, own.teacher)
    alone.save(str(tmp_path / 'b.npz'))
    with pytest.raises(ValueError, match='average of synonyms alone'):
        SynonymLoss(str(tmp_path / 'b.npz'))


def test_refuses_what_has_no_synonyms_or_a_name_twice(tmp_path):
    rows, path = np.random.default_rng(0).normal(size=(3, 4)), str(tmp_path / 'words.npz')
    for synonyms, message in (
        ([['cat'], ['dog']], 'has no synonyms, only the 2 names; name the file of'),
        ([['wall'], ['Wall', 'bulwark']], r"of the same name, \['Wall', 'wall'\], which would be"),
    ):
        each = rows[: sum(map(len, synonyms))]
        words = 'one', 'other'
        TextEmbeddings(rows[:2], words, np.zeros(2, bool), 'clip@0', synonyms, (), each).save(path)
        with pytest.raises(ValueError, match=message):
            SynonymLoss(path)


def test_refuses_the_name_of_another_category(tmp_path):
    """As an edited vocabulary may have it; a synonym of two is allowed."""
    rows, path = np.random.default_rng(0).normal(size=(5, 4)), str(tmp_path / 'words.npz')
    for second, refused in (('Dog', True), ('animal', False)):
        synonyms = [['cat', second], ['dog', 'animal'], ['owl']]
        TextEmbeddings(
            rows[:3], ('cat', 'dog', 'owl'), np.zeros(3, bool), 'clip@0', synonyms, (), rows
        ).save(path)
        if refused:
            message = "has 'Dog' as a synonym of 'cat', and it is the name of 'dog': it would be"
            with pytest.raises(ValueError, match=message):
                SynonymLoss(path)
        else:
            assert SynonymLoss(path).owners.tolist() == [0, 0, 1, 1, 2]
