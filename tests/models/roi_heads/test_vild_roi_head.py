"""Every variant of the RoI head in training and testing, and what may be missing."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from small_models import CATEGORIES, SIZE, WIDTH

pytestmark = pytest.mark.onedl

VARIANTS = ['text', 'image', 'vild', 'ensemble']


def features(batch: int) -> list[torch.Tensor]:
    return [torch.randn(batch, 8, SIZE // s, SIZE // s, requires_grad=True) for s in (4, 8)]


def proposals(counts: list[int]) -> list[InstanceData]:
    found = []
    for count in counts:
        start = torch.rand(count, 2) * SIZE * 0.6
        found.append(InstanceData(bboxes=torch.cat([start, start + 20], dim=1)))
    return found


def build(cfg: dict):
    torch.manual_seed(0)
    head = MODELS.build(ConfigDict(cfg))
    head.init_weights()
    return head


def total(losses: dict) -> torch.Tensor:
    return sum(value for key, value in losses.items() if 'loss' in key)


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('fc_norm', [False, True])
@pytest.mark.parametrize(
    ('objects', 'regions', 'proposed'),
    [
        ([3, 3], [5, 5], [20, 20]),
        ([0, 0], [5, 5], [20, 20]),
        ([3, 0], [0, 4], [20, 0]),
        ([3, 3], [0, 0], [20, 20]),
        ([0, 0], [0, 0], [0, 0]),
        ([0, 0], [1, 0], [0, 0]),
        ([0, 0], [0, 0], [1, 0]),
    ],
    ids=['all', 'no gt', 'mixed', 'no regions', 'nothing', 'one region', 'one proposal'],
)
def test_training(roi_head_cfg, make_sample, variant, fc_norm, objects, regions, proposed):
    """Finite losses and a gradient for every parameter, whatever is missing.

    A parameter without a gradient hangs the other ranks of a distributed run.
    """
    head = build(roi_head_cfg(variant, fc_norm))
    samples = [make_sample(*counts) for counts in zip(objects, regions, strict=True)]
    losses = head.loss(features(len(samples)), proposals(proposed), samples)
    names = {'loss_bbox', 'loss_mask'}
    names |= set() if variant == 'image' else {'loss_cls'}
    names |= set() if variant == 'text' else {'loss_distill'}
    assert {key for key in losses if 'loss' in key} == names
    total(losses).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for name, buffer in head.named_buffers():
        assert torch.isfinite(buffer).all(), name


@pytest.mark.parametrize('variant', ['vild', 'ensemble'])
def test_regions_join_the_sampled_rois(roi_head_cfg, make_sample, variant):
    """One RoIAlign and one call of the head see both; the box loss only the sampled ones."""
    head = build(roi_head_cfg(variant))
    seen = {'extractor': [], 'head': []}
    head.bbox_roi_extractor.register_forward_hook(lambda m, i, o: seen['extractor'].append(len(o)))
    forward = head.bbox_head.forward_distill
    head.bbox_head.forward_distill = lambda x, n: seen['head'].append((len(x), n)) or forward(x, n)
    head.loss(features(2), proposals([20, 20]), [make_sample(3, 5), make_sample(3, 4)])
    assert seen == {'extractor': [16 + 16 + 9], 'head': [(41, 9)]}


def test_distillation_reaches_its_own_branch_only(roi_head_cfg, make_sample):
    head = build(roi_head_cfg('ensemble'))
    losses = head.loss(features(1), proposals([20]), [make_sample()])
    losses['loss_distill'].backward()
    touched = {
        n for n, p in head.bbox_head.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert touched and all(name.startswith('image_branch.') for name in touched)
    assert any(name.startswith('image_branch.shared_convs') for name in touched)


def test_vild_text_needs_no_regions(roi_head_cfg, make_sample):
    sample = make_sample()
    del sample.distill_instances
    assert 'loss_cls' in build(roi_head_cfg('text')).loss(features(1), proposals([20]), [sample])
    with pytest.raises(ValueError, match='no distill_instances; add CLIPCropEmbedding'):
        build(roi_head_cfg('vild')).loss(features(1), proposals([20]), [sample])


def test_regions_of_another_teacher_are_refused(roi_head_cfg, make_sample):
    head = build(roi_head_cfg('vild'))
    with pytest.raises(ValueError, match=r'other@1.*teacher@0.*one teacher'):
        head.loss(features(1), proposals([20]), [make_sample(teacher='other@1')])
    sample = make_sample()
    sample.distill_instances = InstanceData(
        bboxes=sample.distill_instances.bboxes, embeddings=sample.distill_instances.embeddings
    )
    with pytest.raises(ValueError, match=r'unknown.*teacher@0.*one teacher'):
        head.loss(features(1), proposals([20]), [sample])
    with pytest.raises(ValueError, match=f'{WIDTH}.*{2 * WIDTH}'):
        head.loss(features(1), proposals([20]), [make_sample(width=2 * WIDTH)])


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('counts', [[20, 20], [20, 0], [0, 0]])
def test_prediction(roi_head_cfg, make_sample, variant, counts):
    head = build(roi_head_cfg(variant)).eval()
    samples = [make_sample() for _ in counts]
    with torch.no_grad():
        results = head.predict(features(len(counts)), proposals(counts), samples, rescale=True)
    for count, result in zip(counts, results, strict=True):
        assert len(result) == (10 if count else 0)
        assert result.masks.shape == (len(result), SIZE, SIZE)
        assert ((result.labels >= 0) & (result.labels < CATEGORIES)).all()


def test_scores_of_the_ensemble(roi_head_cfg):
    """Against the formula, class by class, in float64."""
    head = build(roi_head_cfg('ensemble', temperature=0.1)).bbox_head.eval()
    rois = torch.randn(6, 8, 7, 7)
    with torch.no_grad():
        logits, _ = head(rois)
        found = head.combined_scores(head.branch_scores(logits), head.fc_cls.novel)
        text = head.fc_cls.classify(head.embed(rois)[0][:, 0]).double()
        image = head.image_branch(rois)[0].double()
    p_text = text.exp() / text.exp().sum(1, keepdim=True)
    p_image = image.exp() / image.exp().sum(1, keepdim=True)
    assert p_text.shape == (6, CATEGORIES + 1) and p_image.shape == (6, CATEGORIES)
    for c in range(CATEGORIES):
        exponent = 1 / 3 if c >= CATEGORIES - 2 else 2 / 3
        expected = p_text[:, c] ** exponent * p_image[:, c] ** (1 - exponent)
        torch.testing.assert_close(found[:, c].double(), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize('variant', ['image', 'vild'])
def test_scores_of_one_head(roi_head_cfg, variant):
    head = build(roi_head_cfg(variant, temperature=0.1)).bbox_head.eval()
    with torch.no_grad():
        logits, _ = head(torch.randn(6, 8, 7, 7))
    scores = head.combined_scores(head.branch_scores(logits), head.fc_cls.novel)
    assert scores.shape == (6, CATEGORIES)
    rest = 1 - scores.sum(1)
    # ViLD keeps what background takes, ViLD-image has no background.
    assert (rest > 0).all() if variant == 'vild' else (rest.abs() < 1e-5).all()


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (dict(cls_predictor_cfg=dict(type='Linear')), TypeError, 'must be a CLIPTextClassifier'),
        (dict(num_shared_fcs=0), ValueError, 'num_shared_fcs of 1 or more'),
        (dict(num_cls_fcs=1), TypeError, r"does not take \['num_cls_fcs'\]"),
        (dict(type='ViLDEnsembleBBoxHead', ensemble_weight=1.5), ValueError, 'found 1.5'),
        (dict(loss_cls=dict(type='FocalLoss')), ValueError, 'one of softmax.*FocalLoss'),
        (
            dict(loss_cls=dict(type='SeesawLoss', num_classes=CATEGORIES)),
            ValueError,
            'one of softmax.*SeesawLoss',
        ),
        (
            dict(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True)),
            ValueError,
            'one of softmax.*CrossEntropyLoss',
        ),
    ],
)
def test_refused_bbox_heads(roi_head_cfg, change, error, message):
    cfg = roi_head_cfg()
    cfg['bbox_head'].update(change)
    with pytest.raises(error, match=message):
        build(cfg)


def test_refuses_an_ensemble_without_background(roi_head_cfg):
    cfg = roi_head_cfg('image')
    cfg['bbox_head']['type'] = 'ViLDEnsembleBBoxHead'
    with pytest.raises(ValueError, match='text branch .* needs a background'):
        build(cfg)


@pytest.mark.parametrize('variant', ['image', 'ensemble'])
def test_refuses_a_branch_that_would_learn_nothing(roi_head_cfg, variant):
    with pytest.raises(ValueError, match='learns from distill_loss alone, which is None'):
        build(roi_head_cfg(variant) | dict(distill_loss=None))


def test_refuses_another_bbox_head(roi_head_cfg):
    cfg = roi_head_cfg()
    cfg['bbox_head'] = dict(type='Shared2FCBBoxHead', in_channels=8, num_classes=3)
    with pytest.raises(TypeError, match='must be a ViLDBBoxHead'):
        build(cfg)
