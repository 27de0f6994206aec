"""The text classifier against a float64 formula."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS

from mmdet_vild.models import vocabulary_state
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl


def build(path: str, count: int = 7, **kwargs):
    torch.manual_seed(0)
    classifier = MODELS.build(
        dict(
            type='CLIPTextClassifier',
            in_features=12,
            out_features=count + 1,
            text_embeddings=path,
            **kwargs,
        )
    )
    classifier.init_weights()
    return classifier


def reference(classifier, path: str, features: torch.Tensor) -> np.ndarray:
    """Cosine similarities over tau, in float64: words, then background."""

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    weight, bias = (p.detach().double().numpy() for p in classifier.projection.parameters())
    region = unit(features.double().numpy() @ weight.T + bias)
    words = unit(TextEmbeddings.load(path).embeddings.astype(float))
    background = unit(classifier.background.detach().double().numpy())
    return region @ np.vstack([words, background]).T / classifier.temperature


@pytest.mark.parametrize('temperature', [0.01, 0.07])
def test_logits(write_text, temperature):
    path = write_text()
    classifier = build(path, temperature=temperature).eval()
    features = torch.randn(5, 12)
    expected = reference(classifier, path, features)
    np.testing.assert_allclose(
        classifier(features).detach().numpy(), expected, rtol=0, atol=1e-5 * abs(expected).max()
    )


def test_novel_logits_are_zero_in_training_only(write_text):
    classifier = build(write_text())
    features = torch.randn(5, 12)
    trained, tested = classifier.train()(features), classifier.eval()(features)
    assert (trained[:, 5:7] == 0).all() and (tested[:, 5:7] != 0).all()
    torch.testing.assert_close(trained[:, [0, 1, 2, 3, 4, 7]], tested[:, [0, 1, 2, 3, 4, 7]])


def test_novel_categories_by_name(write_text):
    classifier = build(write_text(), novel_categories=['text 0'])
    logits = classifier.train()(torch.randn(5, 12))
    assert (logits[:, 0] == 0).all() and (logits[:, 1:] != 0).all()
    with pytest.raises(ValueError, match=r"not in .*'cat'"):
        build(write_text(), novel_categories=['cat', 'text 0'])


def test_without_background(write_text):
    classifier = build(write_text(), with_background=False)
    assert classifier(torch.randn(5, 12)).shape == (5, 7)
    assert 'background' not in dict(classifier.named_parameters())


def test_words_are_frozen_and_background_learns(write_text):
    classifier = build(write_text())
    names = set(dict(classifier.named_parameters()))
    assert names == {'projection.weight', 'projection.bias', 'background'}
    classifier(torch.randn(5, 12)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in classifier.parameters())


def test_float32_under_autocast(write_text):
    path = write_text()
    classifier = build(path).eval()
    features = torch.randn(5, 12)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        projected = classifier.projection(features)
        logits = classifier(features)
    assert projected.dtype == torch.bfloat16 and logits.dtype == torch.float32
    # Rounding the projection is all that autocast may change: cosines of it are exact.
    unit = projected.double() / projected.double().norm(dim=1, keepdim=True)
    words = torch.from_numpy(TextEmbeddings.load(path).embeddings).double()
    words = words / words.norm(dim=1, keepdim=True)
    torch.testing.assert_close(logits[:, :7].double(), unit @ words.t() / 0.01, rtol=0, atol=1e-4)


def test_vocabulary_is_swapped_after_training(write_text):
    """A checkpoint loads under more words, strictly, and the words are the new ones."""
    trained = build(write_text())
    swapped = build(write_text(count=20, name='other', seed=1), count=20)
    swapped.load_state_dict(trained.state_dict(), strict=True)
    features = torch.randn(3, 12)
    expected = reference(trained, write_text(count=20, name='other', seed=1), features)
    np.testing.assert_allclose(
        swapped.eval()(features).detach().numpy(), expected, atol=1e-5 * abs(expected).max()
    )


def test_words_of_another_teacher_do_not_fit_a_checkpoint(write_text):
    """Of the same width, they would load and give wrong labels."""
    trained = build(write_text())
    other = build(write_text(name='other', teacher='teacher@1'))
    with pytest.raises(
        ValueError, match=r'other.npz was encoded by the teacher teacher@1.*another'
    ):
        other.load_state_dict(trained.state_dict())


def test_weights_that_do_not_name_their_teacher_load(write_text):
    """Such as converted ones; what the classifier says of itself stays."""
    classifier = build(write_text())
    weights = {k: v for k, v in classifier.state_dict().items() if k != 'teacher_digest'}
    digest = classifier.teacher_digest.clone()
    classifier.load_state_dict(weights, strict=True)
    assert torch.equal(classifier.teacher_digest, digest)


def test_a_teacher_of_which_nobody_knows_the_weights(write_text):
    """Its words fit every checkpoint, and what learns from them fits every teacher."""
    known = build(write_text(teacher='teacher@1'))
    unknown = build(write_text(name='unknown', teacher='teacher'))
    digest = known.teacher_digest.clone()
    known.load_state_dict(unknown.state_dict(), strict=True)
    assert torch.equal(known.teacher_digest, digest)
    with pytest.raises(ValueError, match='was encoded by the teacher teacher, but the checkpoint'):
        unknown.load_state_dict(known.state_dict())


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
        (dict(count=8), r'holds 7 categories.*num_classes=8.*set num_classes to 7'),
        (dict(temperature=0.0), 'temperature of CLIPTextClassifier must be a number above 0'),
    ],
)
def test_refuses(write_text, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(write_text(), **kwargs)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no text-embedding file at .*encode_vocabulary'):
        build(str(tmp_path / 'absent.npz'))


def json_tensor(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


class TestBaked:
    """The vocabulary in the checkpoint, in place of a file."""

    @staticmethod
    def state(write_text, **changes):
        """Of a trained classifier, with other words baked in."""
        state = build(write_text()).state_dict()
        text = TextEmbeddings.load(write_text(count=4, name='other', seed=1))
        return state | vocabulary_state(text, 4) | changes, text

    def test_words_are_the_checkpoints(self, write_text, tmp_path):
        state, text = self.state(write_text)
        torch.save(state, tmp_path / 'baked.pth')
        baked = build(None, count=4, embed_dims=16).eval()
        assert baked.names == ()
        with pytest.raises(ValueError, match='in its checkpoint, which was not loaded'):
            baked(torch.randn(5, 12))
        baked.load_state_dict(torch.load(tmp_path / 'baked.pth', weights_only=True), strict=True)
        expected = build(write_text(count=4, name='other', seed=1), count=4).eval()
        expected.load_state_dict(state, strict=True)  # the file's words, whatever is in there
        features = torch.randn(5, 12)
        torch.testing.assert_close(baked(features), expected(features))
        assert baked.names == text.names and torch.equal(baked.novel, expected.novel)
        assert baked.teacher == text.teacher
        again = build(None, count=4, embed_dims=16)
        again.load_state_dict(baked.state_dict(), strict=True)
        torch.testing.assert_close(again.eval()(features), baked(features))

    @pytest.mark.parametrize(
        ('changes', 'message'),
        [
            (dict(vocabulary_json=json_tensor('{')), 'is damaged: Expecting'),
            (dict(vocabulary_json=json_tensor('[]')), 'is damaged: list'),
            (dict(vocabulary_json=json_tensor('[' * 10_000)), 'is damaged: maximum recursion'),
            (dict(vocabulary_json='names'), 'is damaged: .*str'),
            (dict(novel=None), 'is damaged: .*NoneType'),
            (dict(text_embeddings=torch.zeros(4, 16)), 'is damaged: .* zero or not finite'),
            (dict(novel=torch.zeros(3, dtype=torch.bool)), 'is damaged: found 4 embeddings'),
            (dict(text_embeddings=torch.ones(4, 8)), 'are 8 wide, but embed_dims is 16'),
            (dict(teacher_digest=torch.ones(32, dtype=torch.uint8)), 'words of another'),
            (dict(teacher_digest='?'), 'words of another'),
        ],
    )
    def test_refuses_damage(self, write_text, changes, message):
        state, _ = self.state(write_text, **changes)
        with pytest.raises(ValueError, match=message):
            build(None, count=4, embed_dims=16).load_state_dict(state)

    def test_refuses_fewer_words_than_it_detects(self, write_text):
        state, text = self.state(write_text)
        state |= vocabulary_state(text, 7)
        with pytest.raises(ValueError, match='is damaged: 7 of its 4 words'):
            build(None, count=7, embed_dims=16).load_state_dict(state)

    def test_refuses_a_checkpoint_without(self, write_text):
        with pytest.raises(ValueError, match='has no text_embeddings, novel, vocabulary_json'):
            build(None, embed_dims=16).load_state_dict(build(write_text()).state_dict())
        with pytest.raises(ValueError, match='holds 4 categories, .* num_classes=7'):
            build(None, embed_dims=16).load_state_dict(self.state(write_text)[0])
        with pytest.raises(ValueError, match='either a text-embedding file'):
            build(None)
        with pytest.raises(ValueError, match='either a text-embedding file'):
            build(write_text(), embed_dims=16)


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
    @pytest.mark.parametrize('synonyms', ['average', 'max', 'mean'])
    def test_logits(self, path, synonyms, shape):
        """Of any shape of features, against float64."""
        classifier = build(path, 3, synonyms=synonyms, temperature=0.1).eval()
        features = torch.randn(*shape, 12)
        text = TextEmbeddings.load(path)
        weight, bias = (p.detach().double().numpy() for p in classifier.projection.parameters())
        region = features.double().numpy() @ weight.T + bias
        region /= np.linalg.norm(region, axis=-1, keepdims=True)
        rows = np.split(text.synonym_embeddings.astype(float), np.cumsum(self.COUNTS)[:-1])
        if synonyms == 'average':
            rows = [row[None] for row in text.embeddings.astype(float)]
        similarities = [
            region @ (part / np.linalg.norm(part, axis=1, keepdims=True)).T for part in rows
        ]
        reduce = np.max if synonyms == 'max' else np.mean
        expected = np.stack([reduce(part, axis=-1) for part in similarities], axis=-1) / 0.1
        found = classifier(features)
        assert found.shape == (*shape, 4)
        np.testing.assert_allclose(found[..., :3].detach().numpy(), expected, rtol=0, atol=1e-5)

    def test_gradient_of_the_best(self, path):
        """The maximum teaches the nearest synonym alone; novel categories none."""
        classifier = build(path, 3, synonyms='max').train()
        logits = classifier(torch.randn(4, 12))
        assert not logits[:, 2].any() and logits[:, :2].all()
        logits.sum().backward()
        assert classifier.projection.weight.grad.abs().sum() > 0

    def test_refuses(self, path, write_text):
        with pytest.raises(ValueError, match='has the average of synonyms alone; encode'):
            build(write_text(), synonyms='max')
        with pytest.raises(ValueError, match='the vocabulary of a checkpoint has the average'):
            build(None, 3, embed_dims=16, synonyms='mean')
        with pytest.raises(ValueError, match="'average' or 'max' or 'mean', found 'sum'"):
            build(path, 3, synonyms='sum')
        text = TextEmbeddings.load(path)
        with pytest.raises(ValueError, match=r'have shape \(5, 16\), expected \(6, 16\)'):
            TextEmbeddings(
                text.embeddings,
                text.names,
                text.novel,
                't',
                text.synonyms,
                (),
                text.synonym_embeddings[1:],
            )


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
    assert {'projection.weight', 'projection.bias', 'background', 'logit_scale'} == set(
        dict(other.named_parameters())
    )
