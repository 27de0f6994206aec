"""The tuning of a teacher's norms against plain formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdet_vild.teacher import OpenCLIPTeacher, teacher_tuner
from mmdet_vild.teacher.teacher_tuner import size_weights
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl
NOVEL = [False, True, False, False]
BOXES = [[[5.0, 5, 60, 50], [10, 20, 14, 26], [0, 0, 90, 70]], [[20.0, 10, 45, 60]]]
LABELS = [[0, 3, 2], [2]]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Weights of a teacher, and words that it encoded."""
    folder = tmp_path_factory.mktemp('teacher')
    torch.manual_seed(0)
    teacher = OpenCLIPTeacher('mini-clip')
    torch.save(teacher.model.state_dict(), folder / 'teacher.pt')
    rows = np.random.default_rng(0).normal(size=(4, teacher.embed_dims))
    for name, identity in (('text', teacher.identity), ('other', 'mini-clip@0')):
        TextEmbeddings(rows, tuple('abcd'), NOVEL, identity).save(str(folder / f'{name}.npz'))
    TextEmbeddings(rows, tuple('abcd'), [True] * 4, 'mini-clip').save(str(folder / 'novel.npz'))
    narrow = TextEmbeddings(rows[:, :5], tuple('abcd'), NOVEL, 'mini-clip')
    narrow.save(str(folder / 'narrow.npz'))
    return folder


@pytest.fixture
def make(folder):
    def make(text='text', **options):
        teacher = dict(
            type='OpenCLIPTeacher', model_name='mini-clip', pretrained=str(folder / 'teacher.pt'),
            crop_mode='pad_black', crop_scales=(1.2,), min_side=10,
        )  # fmt: skip
        file = str(folder / f'{text}.npz')
        cfg = dict(type='TeacherTuner', teacher=teacher, text_embeddings=file, **options)
        return MODELS.build(cfg).train()

    return make


def batch(boxes=BOXES, labels=LABELS) -> dict:
    rng = np.random.default_rng(1)
    inputs = [torch.from_numpy(rng.integers(0, 256, (3, 80, 100), np.uint8)) for _ in boxes]
    samples = []
    for each, of_each in zip(boxes, labels, strict=True):
        instances = InstanceData(
            bboxes=torch.tensor(each).reshape(-1, 4), labels=torch.tensor(of_each).long()
        )
        samples.append(DetDataSample(gt_instances=instances, metainfo=dict(img_path='x.jpg')))
    return dict(inputs=inputs, data_samples=samples)


@torch.no_grad()
def cosines(tuner, data) -> np.ndarray:
    """(n, C) of all boxes, by the teacher's own crops."""
    images = [image.permute(1, 2, 0).numpy() for image in data['inputs']]
    boxes = [sample.gt_instances.bboxes for sample in data['data_samples']]
    rows = torch.cat(tuner.teacher.encode_regions(images, boxes)).double().numpy()
    words = tuner.vocabulary.embeddings.astype(float)
    return rows @ (words / np.linalg.norm(words, axis=1, keepdims=True)).T


@pytest.mark.parametrize('size_weighted', [False, True])
@pytest.mark.parametrize(('kind', 'bias'), [('ce', None), ('bce', None), ('bce', 'learned')])
def test_loss(make, kind, bias, size_weighted):
    """In float64, over the base names alone."""
    tuner, data = make(loss=kind, bias=bias, size_weighted=size_weighted), batch()
    losses = tuner(**data)
    scale = float(tuner.clip.logit_scale.exp())
    logits = scale * cosines(tuner, data)[:, [0, 2, 3]]
    if bias:
        logits -= 0.8 * scale
    hot = np.eye(3)[[0, 2, 1, 1]]
    if kind == 'ce':
        rows = np.log(np.exp(logits).sum(1)) - (logits * hot).sum(1)
    else:
        rows = (np.log1p(np.exp(-np.abs(logits))) + logits.clip(min=0) - logits * hot).mean(1)
    if size_weighted:
        areas = [[55 * 45, 4 * 6, 90 * 70], [25 * 50]]
        weights = [np.exp(-np.sqrt(np.array(a) / 8000)) for a in areas]
        rows = rows * np.concatenate([w * len(w) / w.sum() for w in weights])
    np.testing.assert_allclose(losses['loss_crops'].item(), rows.mean(), rtol=1e-4)
    expected = 100 * (logits.argmax(1) == hot.argmax(1)).mean()
    assert losses['accuracy'].item() == pytest.approx(expected)


def test_only_norms_of_the_image_encoder_learn(make):
    tuner = make()
    tuner(**batch())['loss_crops'].backward()
    learned = {name for name, value in tuner.named_parameters() if value.grad is not None}
    kinds = (torch.nn.LayerNorm, torch.nn.BatchNorm2d)
    norms = {name for name, m in tuner.clip.visual.named_modules() if isinstance(m, kinds)}
    assert learned == {f'clip.visual.{n}.{part}' for n in norms for part in ('weight', 'bias')}
    assert not any(module.training for module in tuner.clip.modules())
    text_encoder = make(loss='bce')
    assert text_encoder.bias.requires_grad and not text_encoder.clip.ln_final.weight.requires_grad


def test_a_batch_without_a_box(make):
    """A gradient of zeros for all that learns, which other processes wait for."""
    tuner = make(loss='bce')
    loss = tuner(**batch([[], []], [[], []]))['loss_crops']
    loss.backward()
    assert loss == 0
    learning = [value for value in tuner.parameters() if value.requires_grad]
    assert all((value.grad == 0).all() for value in learning)


def test_no_more_regions_than_asked_for(make, monkeypatch):
    tuner, counts = make(max_regions=2), []
    whole = tuner._embed
    monkeypatch.setattr(
        tuner, '_embed', lambda i, boxes: counts.append(sum(map(len, boxes))) or whole(i, boxes)
    )
    for _ in range(3):
        assert tuner(**batch())['loss_crops'].isfinite()
    assert counts == [2, 2, 2]


def test_predicts_among_all_words(make):
    tuner, data = make(), batch()
    found = tuner(**data, mode='predict')
    labels = torch.cat([sample.pred_instances.labels for sample in found])
    assert labels.tolist() == cosines(tuner, data).argmax(1).tolist()


def test_size_weights():
    """A small box counts more than a large one, and an image by its number of boxes."""
    weights = size_weights([torch.tensor([[0.0, 0, 10, 10], [0, 0, 90, 90]])], [(100, 100)])
    expected = np.exp([-0.1, -0.9])
    np.testing.assert_allclose(weights, 2 * expected / expected.sum(), rtol=1e-5)
    assert not len(size_weights([torch.zeros(0, 4)], [(10, 10)]))


def test_refused(make, monkeypatch):
    with pytest.raises(ValueError, match="annotation of the novel category 'b', which tuning must"):
        make()(**batch(labels=[[0, 1, 2], [2]]))
    with pytest.raises(ValueError, match='mini-clip@0 encoded .*; encode the words with the raw'):
        make('other')
    with pytest.raises(ValueError, match='all words of .* are novel; nothing could be trained'):
        make('novel')
    with pytest.raises(ValueError, match=r'and 64 wide, but mini-clip encoded .*, 5 wide; encode'):
        make('narrow')
    build = OpenCLIPTeacher.__init__

    def tuned(teacher, *args, **kwargs):
        build(teacher, *args, **kwargs)
        teacher.identity += '+1'

    with monkeypatch.context() as patch:
        patch.setattr(OpenCLIPTeacher, '__init__', tuned)
        with pytest.raises(ValueError, match='teacher.pt, are tuned already, .* name the raw ones'):
            make()
    monkeypatch.setattr(teacher_tuner, 'NORMS', (torch.nn.LayerNorm,))  # which a ResNet has not
    with pytest.raises(ValueError, match='of mini-clip has no LayerNorm, GroupNorm or BatchNorm'):
        make()


def test_mixed_precision(make):
    """The loss of float32, to what bfloat16 rounds, with gradients of float32."""
    tuner, data = make(), batch()
    expected = tuner(**data)['loss_crops'].item()
    with torch.autocast('cpu', torch.bfloat16):
        loss = tuner(**data)['loss_crops']
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() != expected
    assert loss.item() == pytest.approx(expected, rel=0.1)
    assert all(value.grad.dtype == torch.float32 for value in tuner.tuned)
