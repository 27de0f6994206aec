"""Boxes that depend on the word of their class."""

import copy

import numpy as np
import pytest
import torch
from mmdet.models.layers import multiclass_nms
from mmengine.config import ConfigDict
from small_models import CATEGORIES, NOVEL, WIDTH, build, feature_maps, proposals

from mmdet_vild.models import Words

pytestmark = pytest.mark.onedl
SHARED = dict(num_shared_convs=1, num_shared_fcs=1)
SEPARATE = dict(num_shared_convs=1, num_cls_convs=1, num_cls_fcs=2, num_reg_convs=1, num_reg_fcs=1)


@pytest.fixture
def make(roi_head_cfg):
    """Builds a RoI head whose class shifts are large."""

    def make(branches=SEPARATE, **options):
        cfg = roi_head_cfg('vild', fc_norm=False)
        head = cfg['bbox_head']
        for key in ('num_shared_convs', 'num_shared_fcs'):
            del head[key]
        cfg['bbox_head'] = {**head, 'type': 'SemanticBBoxHead', **branches, **options}
        model = build(cfg)
        if model.bbox_head.class_shift is not None:
            torch.nn.init.normal_(model.bbox_head.class_shift.weight)
        return model

    return make


@pytest.mark.parametrize('branches', [SHARED, SEPARATE], ids=['shared', 'separate'])
def test_a_linear_layer_of_features_and_word(make, branches):
    """In float64: [box features, word] of the assigned class, of zeros for background."""
    head = make(branches).bbox_head.eval()
    seen = []
    head.fc_reg.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = torch.randn(6, 8, 7, 7)
    _, plain = head.embed(x)
    labels = torch.tensor([0, CATEGORIES, 3, 3, 6, CATEGORIES])
    words = np.vstack([head.fc_cls.text_embeddings.double(), np.zeros(WIDTH)])
    both = np.hstack([seen[0].detach().double().numpy(), words[labels]])
    layers = (head.fc_reg.weight, head.class_shift.weight)
    weight = np.hstack([layer.detach().double().numpy() for layer in layers])
    expected = both @ weight.T + head.fc_reg.bias.detach().double().numpy()
    found = plain + head.shifts()[labels]
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)


def loss_bbox(model, labels=None, seed=1):
    """The loss of boxes, some words of which may be permuted."""
    torch.manual_seed(seed)
    n = 8
    deltas, rois = torch.randn(n, 4), torch.cat([torch.zeros(n, 1), torch.rand(n, 4)], 1)
    labels = torch.arange(n) % CATEGORIES if labels is None else labels
    ones = torch.ones(n)
    logits, targets = torch.randn(n, CATEGORIES + 1), torch.randn(n, 4)
    found = model.bbox_head.loss(logits, deltas, rois, labels, ones, targets, torch.ones(n, 4))
    shifts = model.bbox_head.shifts()[labels] if model.bbox_head.class_shift is not None else 0
    return found['loss_bbox'], (deltas + shifts - targets)[labels < CATEGORIES]


def test_the_assigned_class_shifts_its_boxes_in_training(make):
    """The loss is L1 or smooth L1 of the shifted deltas alone; no class, no shift."""
    model = make(loss_bbox=dict(type='L1Loss'))
    loss, expected = loss_bbox(model)
    torch.testing.assert_close(loss, expected.abs().sum() / 8)
    loss.backward()
    assert model.bbox_head.class_shift.weight.grad.abs().max() > 0
    plain = make(loss_bbox=dict(type='L1Loss'), class_conditioned=False)
    other, expected = loss_bbox(plain)
    torch.testing.assert_close(other, expected.abs().sum() / 8)
    assert not torch.allclose(loss, other)
    background = torch.full((8,), CATEGORIES)
    nothing, _ = loss_bbox(model, background)
    assert nothing == 0


@torch.no_grad()
def boxes(model, words=None, **options):
    torch.manual_seed(2)
    meta = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0), words=words)
    features, given = feature_maps(1), proposals(20)
    cfg = ConfigDict(model.test_cfg) if options.get('nms') else None
    return model.predict_bbox(features, [meta], given, cfg)[0]


def test_the_best_word_shifts_its_box_in_testing(make):
    """Own words or the vocabulary's; background, and the RoIs that look like it, none."""
    model = make(SHARED).eval()
    torch.nn.init.normal_(model.bbox_head.fc_reg.weight, std=0.1)
    plain = copy.deepcopy(model)
    plain.bbox_head.class_shift = None
    head = model.bbox_head
    vocabulary = head.fc_cls.words
    few = Words(('a', 'b', 'c'), vocabulary.embeddings[[4, 1, 6]], vocabulary.novel[[4, 1, 6]], 2)
    for words in (None, few):
        found, expected = boxes(model, words), boxes(plain, words)
        torch.testing.assert_close(found.scores, expected.scores)
        # mmdet's own decoding of the shifted deltas
        torch.manual_seed(2)
        features, (given,) = feature_maps(1), proposals(20)
        rois = torch.cat([torch.zeros(20, 1), given.bboxes], dim=1)
        embeddings, deltas = head.embed(model._roi_features(features, rois))
        logits = head.classify(embeddings, words)
        best = logits.argmax(1)
        asked = vocabulary if words is None else words
        own = torch.cat([asked.embeddings, torch.zeros(1, WIDTH)])[best]
        shifted = deltas + own @ head.class_shift.weight.T
        by_mmdet = head.bbox_coder.decode(given.bboxes, shifted, max_shape=(64, 64))
        torch.testing.assert_close(found.bboxes, by_mmdet, atol=1e-4, rtol=1e-4)
        assert len(set(best.tolist())) > 1
        assert (found.bboxes - expected.bboxes).abs().max() > 0.1
    # And what is left of these by mmdet's own NMS.
    raw, cfg, detections = boxes(model), ConfigDict(model.test_cfg), boxes(model, nms=True)
    dets, labels = multiclass_nms(raw.bboxes, raw.scores, cfg.score_thr, cfg.nms, cfg.max_per_img)
    assert len(dets) == 10 and torch.equal(detections.labels, labels)
    torch.testing.assert_close(detections.bboxes, dets[:, :4])
    torch.testing.assert_close(detections.scores, dets[:, 4])


def test_what_looks_like_background_may_be_shifted(make):
    """Every other RoI, by its best word; those that look like a word are shifted by it as ever."""
    head = make(SHARED).bbox_head.eval()
    torch.manual_seed(2)
    (given,), deltas = proposals(20), 0.1 * torch.randn(20, 4)
    logits = torch.randn(20, CATEGORIES + 1)
    logits[:, -1] = torch.tensor([9.0, -9]).repeat(10)
    own = head.fc_cls.text_embeddings[logits[:, :-1].argmax(1)] @ head.class_shift.weight.T
    rois = torch.cat([torch.zeros(20, 1), given.bboxes], dim=1)
    meta = dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0))
    for shifted, shift in ((True, own), (False, own * torch.tensor([0.0, 1]).repeat(10)[:, None])):
        head.shift_background = shifted
        (found,) = head.predict_by_feat([rois], [logits], [deltas], [meta])
        expected = head.bbox_coder.decode(given.bboxes, deltas + shift, max_shape=(64, 64))
        torch.testing.assert_close(found.bboxes, expected, atol=1e-4, rtol=1e-4)
    assert make(SHARED, shift_background=True).bbox_head.shift_background


def test_a_word_of_several_rows_has_their_mean_shift(make):
    head = make(SHARED).bbox_head
    rows, owners = torch.randn(5, WIDTH), torch.tensor([0, 0, 1, 2, 2])
    words = Words(('a', 'b', 'c'), rows, torch.zeros(3).bool(), 3, owners)
    shifts = rows @ head.class_shift.weight.T
    expected = torch.stack([shifts[:2].mean(0), shifts[2], shifts[3:].mean(0), torch.zeros(4)])
    torch.testing.assert_close(head.shifts(words), expected)


@pytest.mark.parametrize('branches', [SHARED, SEPARATE], ids=['shared', 'separate'])
def test_a_training_step(make, make_sample, branches):
    """Everything learns; distillation RoIs get the embeddings that they would get alone."""
    torch.manual_seed(1)
    model = make(branches).train()
    losses = model.loss(feature_maps(), proposals(20, 20), [make_sample(), make_sample()])
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    missing = [name for name, value in model.named_parameters() if value.grad is None]
    assert not missing
    words, layer = model.bbox_head.fc_cls.text_embeddings, model.bbox_head.class_shift
    lengths = np.linalg.norm((words @ layer.weight.T).detach().double().numpy(), axis=1)
    means = lengths[:-NOVEL].mean(), lengths[-NOVEL:].mean()
    found = losses['shift_base'].item(), losses['shift_novel'].item()
    np.testing.assert_allclose(found, means, rtol=1e-5)
    head, x = model.bbox_head.eval(), torch.randn(5, 8, 7, 7)
    logits, deltas, embeddings = head.forward_distill(x, 2)
    whole, plain = head.embed(x)
    torch.testing.assert_close(embeddings, whole[3:])
    torch.testing.assert_close(deltas, plain[:3])
    torch.testing.assert_close(logits, head.classify(whole[:3]))


def test_refused(make):
    for branches in (
        dict(num_shared_fcs=1, num_cls_convs=1),
        dict(num_shared_convs=2),
        dict(num_shared_convs=2, num_cls_fcs=1),
    ):
        with pytest.raises(ValueError, match='SemanticBBoxHead needs either shared FCs, and'):
            make(branches)
    iou = dict(type='LocalisationQualityLoss')
    with pytest.raises(ValueError, match='predicts no IoU, found loss_iou=.*; leave it out, or'):
        make(SHARED, loss_iou=iou)
    with pytest.raises(ValueError, match='with_reg=False of SemanticBBoxHead leaves out the boxes'):
        make(SHARED, with_reg=False)
    with pytest.raises(TypeError, match='of SemanticBBoxHead must be a CLIPTextClassifier, found'):
        make(SHARED, cls_predictor_cfg=dict(type='Linear'))
    with pytest.raises(TypeError, match="CLIPTextClassifier: missing .* 'text_embeddings'"):
        make(SHARED, cls_predictor_cfg=dict(type='CLIPTextClassifier'))


@pytest.mark.parametrize('branches', [SHARED, SEPARATE], ids=['shared', 'separate'])
def test_sigmoids_and_rivals(make, make_sample, write_text, branches):
    """ViLD+'s, in EZSD's head: all is learned, and boxes are moved by words."""
    classifier = dict(
        type='CLIPTextClassifier', text_embeddings=write_text(), rivals=write_text(4, name='old'),
        with_background=False, bias=-4.0, temperature=0.1, learned_temperature=True,
    )  # fmt: skip
    sigmoid = dict(type='CrossEntropyLoss', use_sigmoid=True)
    model = make(branches, cls_predictor_cfg=classifier, loss_cls=sigmoid)
    samples = [make_sample(3, 5) for _ in range(2)]
    losses = model.loss(feature_maps(), proposals(20, 20), samples)
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    model.eval()
    model.test_cfg.update(objectness_weight=0.2, partial=dict(overlap=0.8), max_per_img=-1)
    proposed = proposals(6)
    proposed[0].scores = torch.rand(6)
    with torch.no_grad():
        (found,) = model.predict(feature_maps(1), proposed, samples[:1], rescale=False)
        assert len(found) > CATEGORIES and found.labels.max() < CATEGORIES
        model.bbox_head.class_shift.weight.zero_()
        (alike,) = model.predict(feature_maps(1), proposed, samples[:1], rescale=False)
    assert torch.cdist(found.bboxes, alike.bboxes).amin(dim=1).max() > 0.01
