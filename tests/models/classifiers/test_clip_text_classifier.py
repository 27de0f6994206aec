"""The text classifier against a float64 formula."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from small_models import build as build_model

from mmdet_vild.models import Words
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl


def build(path: str | None, count: int = 7, **kwargs):
    cfg = dict(type='CLIPTextClassifier', in_features=12, out_features=count + 1)
    return build_model({**cfg, 'text_embeddings': path, **kwargs})


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def embedded(classifier, features: torch.Tensor) -> np.ndarray:
    weight, bias = (p.detach().double().numpy() for p in classifier.projection.parameters())
    return unit(features.double().numpy() @ weight.T + bias)


def reference(classifier, path: str, features: torch.Tensor) -> np.ndarray:
    """Cosine similarities over tau, in float64: words, then background."""
    words = unit(TextEmbeddings.load(path).embeddings.astype(float))
    background = unit(classifier.background.detach().double().numpy())
    return (
        embedded(classifier, features) @ np.vstack([words, background]).T / classifier.temperature
    )


def check(found: torch.Tensor, expected: np.ndarray) -> None:
    tolerance = 1e-5 * abs(expected).max()
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize('temperature', [0.01, 0.07])
def test_logits(write_text, temperature):
    path = write_text()
    classifier = build(path, temperature=temperature).eval()
    features = torch.randn(5, 12)
    check(classifier(features), reference(classifier, path, features))


def test_novel_logits_are_zero_in_training_only(write_text):
    classifier = build(write_text())
    features = torch.randn(5, 12)
    trained, tested = classifier.train()(features), classifier.eval()(features)
    assert (trained[:, 5:7] == 0).all() and (tested[:, 5:7] != 0).all()
    torch.testing.assert_close(trained[:, [0, 1, 2, 3, 4, 7]], tested[:, [0, 1, 2, 3, 4, 7]])
    named = build(write_text(), novel_categories=['text 0']).train()(features)
    assert (named[:, 0] == 0).all() and (named[:, 1:] != 0).all()


def test_what_learns(write_text):
    """The words are frozen, and background is optional."""
    classifier = build(write_text())
    names = set(dict(classifier.named_parameters()))
    assert names == {'projection.weight', 'projection.bias', 'background'}
    classifier(torch.randn(5, 12)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in classifier.parameters())
    without = build(write_text(), with_background=False)
    assert without(torch.randn(5, 12)).shape == (5, 7)
    assert 'background' not in dict(without.named_parameters())


def test_float32_under_autocast(write_text):
    path = write_text()
    classifier = build(path).eval()
    features = torch.randn(5, 12)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        projected = classifier.projection(features)
        logits = classifier(features)
    assert projected.dtype == torch.bfloat16 and logits.dtype == torch.float32
    # Rounding the projection is all that autocast may change: cosines of it are exact.
    words = unit(TextEmbeddings.load(path).embeddings.astype(float))
    expected = unit(projected.detach().double().numpy()) @ words.T / 0.01
    np.testing.assert_allclose(logits[:, :7].detach().numpy(), expected, rtol=0, atol=1e-4)


def test_vocabulary_is_swapped_after_training(write_text):
    """A checkpoint loads under more words, strictly, and the words are the new ones."""
    trained, other = build(write_text()), write_text(count=20, name='other', seed=1)
    swapped = build(other, count=20)
    swapped.load_state_dict(trained.state_dict(), strict=True)
    features = torch.randn(3, 12)
    check(swapped.eval()(features), reference(trained, other, features))


def test_teachers_of_a_checkpoint(write_text):
    """Words of another one would load, if of the same width, and give wrong labels."""
    trained = build(write_text())
    other = build(write_text(name='other', teacher='teacher@1'))
    with pytest.raises(ValueError, match='other.npz was encoded by the teacher teacher@1.*another'):
        other.load_state_dict(trained.state_dict())
    # Weights that do not name theirs, or one of which nobody knows the weights, fit every one.
    unknown = build(write_text(name='unknown', teacher='teacher'))
    nameless = {k: v for k, v in trained.state_dict().items() if k != 'teacher_digest'}
    for weights in (nameless, unknown.state_dict()):
        digest = other.teacher_digest.clone()
        other.load_state_dict(weights, strict=True)
        assert torch.equal(other.teacher_digest, digest)
    with pytest.raises(ValueError, match='was encoded by the teacher teacher, but the checkpoint'):
        unknown.load_state_dict(trained.state_dict())


def test_any_mmdet_bbox_head_takes_it(write_text):
    head = MODELS.build(
        dict(
            type='Shared2FCBBoxHead',
            in_channels=4,
            fc_out_channels=12,
            roi_feat_size=7,
            num_classes=7,
            reg_class_agnostic=True,
            cls_predictor_cfg=dict(type='CLIPTextClassifier', text_embeddings=write_text()),
        )
    )
    head.init_weights()
    logits, deltas = head(torch.randn(3, 4, 7, 7))
    assert logits.shape == (3, 8) and deltas.shape == (3, 4)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(count=8), 'holds 7 categories.*num_classes=8.*set num_classes to 7'),
        (dict(temperature=0.0), 'temperature of CLIPTextClassifier must be a number above 0'),
        (dict(novel_categories=['cat', 'text 0']), "not in .*'cat'"),
        (dict(embed_dims=16), 'either a text-embedding file'),
        (dict(synonyms='sum'), "'average' or 'max' or 'mean' or 'random', found 'sum'"),
        (dict(synonyms='max'), 'has the average of synonyms alone; name a file'),
    ],
)
def test_refuses(write_text, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(write_text(), **kwargs)


class TestSynonyms:
    """Several rows a category."""

    COUNTS = (1, 3, 2)

    @pytest.fixture
    def path(self, tmp_path):
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(sum(self.COUNTS), 16)).astype(np.float32)
        names = ('a', 'b', 'c')
        synonyms = [[f'{n} {i}' for i in range(k)] for n, k in zip(names, self.COUNTS, strict=True)]
        averages = [part.mean(0) for part in np.split(rows, np.cumsum(self.COUNTS)[:-1])]
        path = str(tmp_path / 'synonyms.npz')
        text = TextEmbeddings(averages, names, [False, False, True], 't@0', synonyms, (), rows)
        text.save(path)
        return path

    @pytest.mark.parametrize('shape', [(5,), (2, 5), (2, 3, 4)])
    @pytest.mark.parametrize('synonyms', ['average', 'max', 'mean', 'random'])
    def test_logits(self, path, synonyms, shape):
        """Of any shape of features, against float64."""
        classifier = build(path, 3, synonyms=synonyms, temperature=0.1).eval()
        features = torch.randn(*shape, 12)
        text = TextEmbeddings.load(path)
        rows = np.split(text.synonym_embeddings.astype(float), np.cumsum(self.COUNTS)[:-1])
        if synonyms == 'average':
            rows = [row[None] for row in text.embeddings.astype(float)]
        similarities = [embedded(classifier, features) @ unit(part).T for part in rows]
        reduce = np.max if synonyms in ('max', 'random') else np.mean
        expected = np.stack([reduce(part, axis=-1) for part in similarities], axis=-1) / 0.1
        found = classifier(features)
        assert found.shape == (*shape, 4)
        check(found[..., :3], expected)

    def test_gradient_of_the_best(self, path):
        """The maximum teaches the nearest synonym alone; novel categories none."""
        classifier = build(path, 3, synonyms='max').train()
        logits = classifier(torch.randn(4, 12))
        assert not logits[:, 2].any() and logits[:, :2].all()
        logits.sum().backward()
        assert classifier.projection.weight.grad.abs().sum() > 0

    def test_a_name_drawn_for_each_category(self, path):
        """In training, anew in each pass, and the same for all regions; all names come up."""
        classifier = build(path, 3, synonyms='random', temperature=0.1, mask_novel=False).train()
        features = torch.randn(2, 12)
        text = TextEmbeddings.load(path)
        rows = np.split(text.synonym_embeddings.astype(float), np.cumsum(self.COUNTS)[:-1])
        similarities = [embedded(classifier, features) @ unit(part).T / 0.1 for part in rows]
        drawn = set()
        for _ in range(60):
            found = classifier(features)[:, :3].detach().double().numpy()
            of_each = []
            for column, names in enumerate(similarities):
                errors = np.abs(names - found[:, column, None]).max(axis=0)
                assert errors.min() < 1e-4
                of_each.append(int(errors.argmin()))
            drawn.add(tuple(of_each))
        assert drawn == {(0, i, j) for i in range(3) for j in range(2)}

    def test_texts_of_categories(self, path):
        text = TextEmbeddings.load(path)
        labels = torch.tensor([2, 0, 2, 1])
        averages = unit(text.embeddings.astype(float))[labels]
        check(build(path, 3).texts_of(labels), averages)
        rows = np.split(unit(text.synonym_embeddings.astype(float)), np.cumsum(self.COUNTS)[:-1])
        means = np.stack([rows[label].mean(0) for label in labels])
        check(build(path, 3, synonyms='max').texts_of(labels), means)

    def test_a_row_for_each(self, path):
        text = TextEmbeddings.load(path)
        with pytest.raises(ValueError, match=r'have shape \(5, 16\), expected \(6, 16\)'):
            replace(text, synonym_embeddings=text.synonym_embeddings[1:])


def test_learned_temperature(write_text):
    """It begins where it is told, learns, and is in the checkpoint."""
    path = write_text()
    classifier = build(path, temperature=0.07, learned_temperature=True)
    features = torch.randn(5, 12)
    torch.testing.assert_close(classifier(features), build(path, temperature=0.07)(features))
    classifier(features).square().sum().backward()
    assert classifier.logit_scale.grad.abs() > 0
    with torch.no_grad():
        classifier.logit_scale.add_(1)
    other = build(path, temperature=0.07, learned_temperature=True)
    other.load_state_dict(classifier.state_dict(), strict=True)
    assert other.temperature.item() == pytest.approx(0.07 / np.e, rel=1e-5)
    assert 'logit_scale' in dict(other.named_parameters())


def test_novel_words_that_are_not_in_the_softmax(write_text):
    """They are none of the classes that a loss is computed of."""
    classifier = build(write_text(), mask_novel='drop')
    features = torch.randn(5, 12)
    trained, tested = classifier.train()(features), classifier.eval()(features)
    assert (trained[:, 5:7] == -torch.inf).all() and tested.isfinite().all()
    left = tested[:, [0, 1, 2, 3, 4, 7]]
    labels = torch.tensor([0, 4, 2, 7, 1])
    expected = torch.nn.functional.cross_entropy(left, labels.clamp(max=5))
    loss = torch.nn.functional.cross_entropy(trained, labels)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in classifier.parameters())


def test_a_background_of_any_length(write_text):
    classifier = build(write_text(), normalize_background=False).eval()
    features = torch.randn(5, 12)
    background = classifier.background.detach().double().numpy()
    expected = embedded(classifier, features) @ background / 0.01
    check(classifier(features)[:, -1], expected)


class TestPictures:
    """In place of words, against the formula: as similar to the average region as texts are."""

    NAMES = ('a', 'my mug', 'b', 'c', 'it')

    @pytest.fixture
    def text(self) -> TextEmbeddings:
        """The vocabulary's texts, and two pictures much nearer to all regions than these."""
        rows = np.random.default_rng(3).normal(size=(5, 16))
        rows[[1, 4]] += 20 * unit(np.ones(16))
        synonyms = tuple((n,) if len(n) == 1 else (f'picture:{0:016x}',) for n in self.NAMES)
        return TextEmbeddings(rows, self.NAMES, [False] * 5, 'teacher@0', synonyms)

    def expected(self, classifier, seen: np.ndarray, rows: np.ndarray, own: np.ndarray):
        logits = seen @ unit(rows.astype(float)).T
        mean, texts = seen.mean(0), unit(own.astype(float)).mean(0)
        for picture in (1, 4):
            logits[:, picture] = (seen - mean) @ unit(rows.astype(float))[picture] + mean @ texts
        return logits / classifier.temperature

    def test_asked_for(self, write_text, text):
        """On the level of the texts beside them; without any, on that of the vocabulary's."""
        path = write_text()
        classifier = build(path, with_background=False).eval()
        features = torch.randn(6, 12) + 3
        seen, own = embedded(classifier, features), text.embeddings[[0, 2, 3]]
        words = Words.from_text_embeddings(text)
        assert words.pictures.tolist() == [False, True, False, False, True]
        found = classifier.classify(classifier.embed(features), words)
        check(found, self.expected(classifier, seen, text.embeddings, own))
        only = replace(words, embeddings=words.embeddings[[1, 4]], pictures=words.pictures[[1, 4]])
        alone = classifier.classify(classifier.embed(features), only)
        own = TextEmbeddings.load(path).embeddings
        check(alone, self.expected(classifier, seen, text.embeddings, own)[:, [1, 4]])
        # of any shape
        nested = classifier.classify(classifier.embed(features).view(2, 3, -1), words)
        torch.testing.assert_close(nested.flatten(0, 1), found)
        assert classifier.classify(torch.zeros(0, 16), words).shape == (0, 5)

    @pytest.mark.parametrize('synonyms', ['max', 'mean'])
    def test_beside_words_of_several_rows(self, tmp_path, text, synonyms):
        """The level is that of the words' similarities, whatever these are made of."""
        names, rows = ('a', 'b', 'it'), np.random.default_rng(4).normal(size=(6, 16))
        rows[5] += 20 * unit(np.ones(16))
        each = [['a', 'aa', 'aaa'], ['b', 'bb'], [f'picture:{0:016x}']]
        path = str(tmp_path / 'text.npz')
        parts = (rows[[0, 3, 5]], names, [False] * 3, 'teacher@0', each, (), rows)
        TextEmbeddings(*parts).save(path)
        classifier = build(path, 3, synonyms=synonyms, with_background=False).eval()
        features = torch.randn(6, 12) + 3
        seen = embedded(classifier, features)
        similarities = seen @ unit(TextEmbeddings.load(path).synonym_embeddings.astype(float)).T
        reduce = np.max if synonyms == 'max' else np.mean
        words = [reduce(similarities[:, part], axis=1) for part in (slice(3), slice(3, 5))]
        level = np.mean(words, axis=0)
        picture = similarities[:, 5] - (similarities[:, 5] - level).mean()
        expected = np.stack([*words, picture], axis=1) / classifier.temperature
        check(classifier(features), expected)
        # Alone it is on the level of the vocabulary's words.
        own = TextEmbeddings.load(path)
        alone = TextEmbeddings(rows[5:], ('it',), [True], 'teacher@0', [each[2]], (), rows[5:])
        words = Words.from_text_embeddings(alone, by_synonym=True)
        found = classifier.classify(classifier.embed(features), words)
        check(found, expected[:, 2:])
        assert own.pictures.tolist() == [False, False, True]

    @pytest.mark.parametrize('synonyms', ['average', 'max'])
    def test_in_the_vocabulary(self, tmp_path, text, synonyms):
        """Its texts alone are the level; background is as it was."""
        path = str(tmp_path / 'text.npz')
        replace(text, synonym_embeddings=text.embeddings).save(path)
        classifier = build(path, 5, synonyms=synonyms).eval()
        features = torch.randn(6, 12)
        seen = embedded(classifier, features)
        found = classifier(features)
        own = text.embeddings[[0, 2, 3]]
        check(found[:, :5], self.expected(classifier, seen, text.embeddings, own))
        background = unit(classifier.background.detach().double().numpy())
        check(found[:, 5], seen @ background / classifier.temperature)

    def test_nothing_but_pictures(self, tmp_path, text):
        """They have no level to be on."""
        path, only = str(tmp_path / 'text.npz'), [1, 4]
        rows, synonyms = text.embeddings[only], [text.synonyms[i] for i in only]
        TextEmbeddings(rows, ('it', 'mug'), [True] * 2, 'teacher@0', synonyms).save(path)
        classifier = build(path, 2, with_background=False).eval()
        features = torch.randn(6, 12)
        seen = embedded(classifier, features)
        check(classifier(features), seen @ unit(rows.astype(float)).T / classifier.temperature)


def test_sigmoid_logits(write_text):
    """A bias that is learned, no background, and novel words that nothing is learned of."""
    path = write_text()
    options = dict(with_background=False, bias=-10.0, temperature=0.1, learned_temperature=True)
    classifier = build(path, **options)
    features = torch.randn(5, 12)
    cosines = embedded(classifier, features) @ unit(TextEmbeddings.load(path).embeddings).T
    check(classifier.eval()(features), cosines / 0.1 - 10)
    trained = classifier.train()(features)
    check(trained[:, :5], cosines[:, :5] / 0.1 - 10)
    target = torch.nn.functional.one_hot(torch.tensor([0, 3, 4, 1, 2]), 7).float()
    bce = torch.nn.functional.binary_cross_entropy_with_logits(trained, target, reduction='none')
    assert (bce[:, 5:] == 0).all() and bce[:, :5].sum() > 1
    bce.sum().backward()
    assert classifier.bias.grad != 0 and classifier.logit_scale.grad != 0
    # The derivative of a sum of BCE by the bias.
    expected = (trained[:, :5].sigmoid() - target[:, :5]).sum()
    torch.testing.assert_close(classifier.bias.grad, expected.detach())


def test_a_bias_with_background_is_refused(write_text):
    with pytest.raises(ValueError, match='with_background=False, or leave bias out'):
        build(write_text(), bias=-10.0)


@pytest.fixture
def with_rivals(write_text):
    """Builds a classifier of 7 words with 4 of an old vocabulary, of which one is also its own."""

    def make(**options):
        own, old = write_text(), write_text(4, name='old', seed=1)
        text = TextEmbeddings.load(old)
        names = ('text 3', *text.names[1:])
        replace(text, names=names, synonyms=()).save(old)
        return build(own, rivals=old, **options)

    return make


def test_rivals_compete_in_training_and_testing(with_rivals):
    """Where a word is annotated; after background, which is label 7 to mmdet's losses."""
    classifier = with_rivals(mask_novel=False)
    assert classifier.vocabulary.names[7:] == ('old 1', 'old 2', 'old 3')
    assert len(classifier.names) == 7
    features, labels = torch.randn(4, 12), torch.tensor([0, 7, 3, 7])
    logits = classifier.eval()(features)
    words = unit(classifier.vocabulary.embeddings.astype(float))
    check(logits[:, :10], embedded(classifier, features) @ words.T / 0.01)
    found = classifier.training_logits(logits, labels)
    assert found.shape == (4, 7 + 1 + 3)
    assert torch.equal(found[:, :8], logits[:, [*range(7), 10]])
    assert torch.equal(found[::2, 8:], logits[::2, 7:10])
    loss = torch.nn.functional.cross_entropy(found, labels, reduction='none')
    values = logits.double().detach()
    for row, label in enumerate(labels.tolist()):
        competing = values[row] if label < 7 else values[row, [*range(7), 10]]
        own = values[row, 10 if label == 7 else label]
        expected = torch.logsumexp(competing, 0) - own
        torch.testing.assert_close(loss[row].double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('kind', ['CrossEntropyLoss', 'FocalLoss'])
def test_rivals_have_a_sigmoid_loss_where_a_word_is_annotated(with_rivals, kind):
    """mmdet's own losses, with as many rows a rival as words are annotated."""
    options = dict(with_background=False, bias=-2.0, temperature=1.0, mask_novel=False)
    classifier = with_rivals(**options)
    labels = torch.tensor([0, 7, 3, 7])
    logits = classifier.eval()(torch.randn(4, 12)).detach()
    loss_cls = MODELS.build(dict(type=kind, use_sigmoid=True, reduction='none'))
    found = loss_cls(classifier.training_logits(logits, labels), labels)
    target = torch.zeros(4, 10)
    target[0, 0] = target[2, 3] = 1
    p = logits.double().sigmoid()
    expected = -(target * p.log() + (1 - target) * (1 - p).log())
    if kind == 'FocalLoss':
        wrong = torch.where(target > 0, 1 - p, p)
        expected = expected * wrong**2 * torch.where(target > 0, 0.25, 0.75)
    expected[1::2, 7:] = 0
    of_words = found[:, [*range(7), 8, 9, 10]].double()
    torch.testing.assert_close(of_words, expected, atol=1e-5, rtol=1e-4)
    assert not found[:, 7].any()


def test_kinds_of_what_is_annotated_are_no_rivals(write_text):
    """Kinds of its word, and what it is a kind of, as it may be these too."""
    own, old = write_text(2), write_text(5, name='old', seed=1)
    for path, names in (
        (own, ('mug', 'wine bottle')),
        (old, ('striped mug', 'mug', 'bottle', 'cup', 'water bottle')),
    ):
        replace(TextEmbeddings.load(path), names=names, synonyms=()).save(path)
    classifier = build(own, rivals=old, out_features=3)
    assert classifier.vocabulary.names == ('mug', 'wine bottle', 'cup', 'water bottle')


def test_refused_rivals(write_text):
    other = write_text(name='other', teacher='another@1')
    with pytest.raises(ValueError, match='another@1, .* by teacher@0; encode both'):
        build(write_text(), rivals=other)
    with pytest.raises(ValueError, match='rivals needs a text-embedding file'):
        build(None, rivals=other, embed_dims=16)
    with pytest.raises(ValueError, match='and synonyms="average"; found .* and \'max\''):
        build(write_text(), rivals=write_text(name='old'), synonyms='max')
