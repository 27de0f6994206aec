"""Every variant of the RoI head in training and testing, and what may be missing."""

import copy

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from small_models import CATEGORIES, SIZE, TEACHER, WIDTH, build, feature_maps, proposals

from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl

VARIANTS = ['text', 'image', 'vild', 'ensemble']


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
    losses = head.loss(feature_maps(), proposals(*proposed), samples)
    losses = {key: value for key, value in losses.items() if 'loss' in key}
    names = {'loss_bbox', 'loss_mask', 'loss_cls', 'loss_distill'}
    assert set(losses) == names - {dict(image='loss_cls', text='loss_distill').get(variant)}
    sum(losses.values()).backward()
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
    head.loss(feature_maps(), proposals(20, 20), [make_sample(3, 5), make_sample(3, 4)])
    assert seen == {'extractor': [16 + 16 + 9], 'head': [(41, 9)]}


def test_distillation_reaches_its_own_branch_only(roi_head_cfg, make_sample):
    head = build(roi_head_cfg('ensemble'))
    head.loss(feature_maps(1), proposals(20), [make_sample()])['loss_distill'].backward()
    touched = {
        n for n, p in head.bbox_head.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert touched and all(name.startswith('image_branch.') for name in touched)
    assert any(name.startswith('image_branch.shared_convs') for name in touched)


TEXT_GUIDED = dict(type='TextGuidedDistillLoss', loss_weight=2.0, text_weight=3.0)


@pytest.mark.parametrize('variant', ['image', 'vild', 'ensemble'])
@pytest.mark.parametrize('objects', [[3, 2], [0, 0]])
@pytest.mark.parametrize('regions', [[5, 0], [0, 0]])
def test_text_guided_training(roi_head_cfg, make_sample, variant, objects, regions):
    """A gradient for every parameter, whatever is missing, and for the scale of texts."""
    head = build(roi_head_cfg(variant) | dict(distill_loss=TEXT_GUIDED))
    samples = [make_sample(*counts) for counts in zip(objects, regions, strict=True)]
    losses = head.loss(feature_maps(), proposals(20, 20), samples)
    assert {'loss_distill', 'loss_text_distill'} < set(losses) and losses['distill_scale'] == 1
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize('synonyms', [1, 2])
def test_text_guided_loss_of_regions_and_their_words(roi_head_cfg, make_sample, tmp_path, synonyms):
    """The formula in float64, of the words of the objects that regions show; only v learns."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(CATEGORIES * synonyms, WIDTH)).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    texts = unit.reshape(CATEGORIES, synonyms, WIDTH).mean(1)
    names = [[f'{c} {i}' for i in range(synonyms)] for c in range(CATEGORIES)]
    words = (texts, [each[0] for each in names], np.zeros(CATEGORIES, bool), TEACHER, names)
    TextEmbeddings(*words, ['{}'], rows).save(str(tmp_path / 'words.npz'))
    cfg = roi_head_cfg(
        synonyms='max' if synonyms > 1 else 'average',
    )
    cfg['bbox_head']['cls_predictor_cfg']['text_embeddings'] = str(tmp_path / 'words.npz')
    head = build(cfg | dict(distill_loss=TEXT_GUIDED))
    head.distill_loss.scale.data.fill_(0.9)
    samples = [make_sample(2, 4), make_sample(1, 3)]
    labels = []
    for sample in samples:
        gt, regions = sample.gt_instances, sample.distill_instances
        count, objects = len(regions), len(gt)
        regions.weights = torch.rand(count) + 0.1
        # A pixel beside each object, whatever it covers; and what shows none, far away.
        regions.bboxes[:objects] = gt.bboxes + torch.tensor([1.0, 0, 1, 0])
        regions.bboxes[objects:] = torch.tensor([60.0, 60, 63, 63])
        regions.embeddings.requires_grad_()
        labels.append([*gt.labels.tolist(), *[-1] * (count - objects)])
    student = []
    forward = head.distill_loss.forward
    head.distill_loss.forward = lambda v, *others: student.append(v) or forward(v, *others)
    losses = head.loss(feature_maps(), proposals(20, 20), samples)
    v = student[0].detach().double().numpy()
    assert v.shape == (7, WIDTH)
    plain, pairs, start = np.zeros(2), np.zeros(2), 0
    for sample, of_image in zip(samples, labels, strict=True):
        regions = sample.distill_instances
        g = regions.embeddings.detach().double().numpy()
        g /= np.linalg.norm(g, axis=1, keepdims=True)
        w = regions.weights.double().numpy()
        for i, one in enumerate(of_image):
            plain += w[i] * ((v[start + i] - g[i]) ** 2).sum(), w[i]
            for j, other in enumerate(of_image):
                if min(one, other) >= 0:
                    t = [texts[c] / np.linalg.norm(texts[c]) for c in (one, other)]
                    error = 0.9**2 * t[0] @ t[1] - v[start + i] @ g[j]
                    pairs += w[i] * w[j] * error**2, w[i] * w[j]
        start += len(of_image)
    assert losses['loss_distill'].item() == pytest.approx(2 * plain[0] / plain[1], rel=1e-5)
    assert losses['loss_text_distill'].item() == pytest.approx(3 * pairs[0] / pairs[1], rel=1e-5)
    (losses['loss_distill'] + losses['loss_text_distill']).backward()
    assert all(sample.distill_instances.embeddings.grad is None for sample in samples)
    assert head.bbox_head.fc_cls.projection.weight.grad.any() and head.distill_loss.scale.grad
    assert head.bbox_head.fc_cls.background.grad is None


def test_regions_that_do_not_fit(roi_head_cfg, make_sample):
    """None, or those of another teacher; ViLD-text needs none."""
    head, features = build(roi_head_cfg()), feature_maps(1)
    sample, unknown = make_sample(), make_sample()
    del sample.distill_instances
    assert 'loss_cls' in build(roi_head_cfg('text')).loss(features, proposals(20), [sample])
    regions = unknown.distill_instances
    unknown.distill_instances = InstanceData(bboxes=regions.bboxes, embeddings=regions.embeddings)
    for wrong, message in (
        (sample, 'no distill_instances; add CLIPCropEmbedding'),
        (make_sample(teacher='other@1'), r'other@1.*teacher@0.*one teacher'),
        (unknown, r'unknown.*teacher@0.*one teacher'),
        (make_sample(width=2 * WIDTH), f'{WIDTH}.*{2 * WIDTH}'),
    ):
        with pytest.raises(ValueError, match=message):
            head.loss(features, proposals(20), [wrong])


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('counts', [[20, 20], [20, 0], [0, 0]])
def test_prediction(roi_head_cfg, make_sample, variant, counts):
    head = build(roi_head_cfg(variant)).eval()
    with torch.no_grad():
        results = head.predict(
            feature_maps(), proposals(*counts), [make_sample(), make_sample()], rescale=True
        )
    for count, result in zip(counts, results, strict=True):
        assert len(result) == (10 if count else 0)
        assert result.masks.shape == (len(result), SIZE, SIZE)
        assert ((result.labels >= 0) & (result.labels < CATEGORIES)).all()


@pytest.mark.parametrize('variant', ['image', 'ensemble'])
def test_refuses_a_branch_that_would_learn_nothing(roi_head_cfg, variant):
    with pytest.raises(ValueError, match='learns from distill_loss alone, which is None'):
        build(roi_head_cfg(variant) | dict(distill_loss=None))


@pytest.mark.parametrize('variant', [*VARIANTS, 'ViLD+'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_training_step_under_autocast(roi_head_cfg, make_sample, variant, dtype):
    """Losses are those of float32 to bfloat16's precision; they and the gradients are float32."""
    plus = variant == 'ViLD+'
    head = plus_head(roi_head_cfg, 'ensemble') if plus else build(roi_head_cfg(variant))
    torch.manual_seed(1)
    features, proposed = feature_maps(), proposals(20, 20)
    samples = [make_sample(3, 5), make_sample(2, 4)]
    for sample in samples:  # as the store has them
        sample.distill_instances.embeddings = sample.distill_instances.embeddings.half()

    def losses() -> dict[str, torch.Tensor]:
        torch.manual_seed(2)  # of mmdet's sampler
        return head.loss(features, [p.clone() for p in proposed], samples)

    expected = losses()
    with torch.autocast('cpu', dtype):
        found = losses()
    assert set(found) == set(expected)
    for name, value in found.items():
        assert torch.isfinite(value).all() and value.dtype == torch.float32, name
        if name != 'acc':
            torch.testing.assert_close(value, expected[name], rtol=0.05, atol=0.02, msg=name)
    sum(value for name, value in found.items() if 'loss' in name).backward()
    for name, parameter in head.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.dtype == torch.float32, name
    head.eval().test_cfg.explain = 1
    with torch.autocast('cpu', dtype), torch.no_grad():
        for detections in head.predict(features, proposed, samples):
            fields = {'scores', 'other_scores', *(['iou_scores'] if plus else [])}
            assert len(detections) and fields <= set(detections.keys())
            assert all(detections[field].dtype == torch.float32 for field in fields)


@pytest.mark.gpu
@pytest.mark.parametrize('variant', VARIANTS)
def test_training_step_on_a_gpu(roi_head_cfg, make_sample, variant):
    """It computes what it computes on a CPU."""
    head = build(roi_head_cfg(variant))
    features, proposed = feature_maps(), proposals(20, 20)
    samples = [make_sample(3, 5), make_sample(2, 4)]

    def step(device: str) -> tuple[dict, dict]:
        """The losses, and the gradients of all parameters."""
        torch.manual_seed(1)  # mmdet's sampler draws on the CPU
        model = copy.deepcopy(head).to(device)
        losses = model.loss(
            [feature.to(device) for feature in features],
            [each.to(device) for each in proposed],
            [sample.to(device) for sample in samples],
        )
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        gradients = {name: p.grad.cpu() for name, p in model.named_parameters()}
        return {name: value.detach().cpu() for name, value in losses.items()}, gradients

    expected_losses, expected_gradients = step('cpu')
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        losses, gradients = step('cuda')
    torch.testing.assert_close(losses, expected_losses, rtol=1e-4, atol=1e-5)
    for name, expected in expected_gradients.items():
        tolerance = 1e-3 * expected.abs().max().item() + 1e-6
        torch.testing.assert_close(gradients[name], expected, rtol=0, atol=tolerance)


SIGMOID = dict(with_background=False, bias=-4.0, temperature=0.1, learned_temperature=True)


def plus_head(roi_head_cfg, variant: str, loss: str | None = 'CrossEntropyLoss', iou: bool = True):
    """A small head with a sigmoid of each word, and with an IoU that it predicts."""
    cfg = roi_head_cfg(variant)
    if loss:
        cfg['bbox_head']['cls_predictor_cfg'] |= SIGMOID
        cfg['bbox_head']['loss_cls'] = dict(type=loss, use_sigmoid=True)
    if iou:
        cfg['bbox_head']['loss_iou'] = dict(type='LocalisationQualityLoss')
    return build(cfg)


@pytest.mark.parametrize('variant', ['text', 'vild', 'ensemble'])
@pytest.mark.parametrize('loss', ['CrossEntropyLoss', 'FocalLoss', None])
@pytest.mark.parametrize('proposed', [[20, 20], [0, 0]])
def test_training_of_sigmoids_and_ious(roi_head_cfg, make_sample, variant, loss, proposed):
    """Finite losses and a gradient for every parameter, also without any object."""
    head = plus_head(roi_head_cfg, variant, loss)
    samples = [make_sample(3 if proposed[0] else 0, 5) for _ in range(2)]
    losses = head.loss(feature_maps(), proposals(*proposed), samples)
    losses = {key: value for key, value in losses.items() if 'loss' in key}
    names = {'loss_bbox', 'loss_mask', 'loss_cls', 'loss_iou', 'loss_distill'}
    assert set(losses) == names - ({'loss_distill'} if variant == 'text' else set())
    assert losses['loss_iou'] > 0 or not proposed[0]
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_a_sigmoid_of_each_word_and_its_loss(roi_head_cfg):
    """Rows of mmdet's targets in float64; no novel word has a part in it."""
    head = plus_head(roi_head_cfg, 'text', iou=False).bbox_head
    labels = torch.tensor([0, CATEGORIES, 3, CATEGORIES])
    logits = torch.randn(4, CATEGORIES) * 3
    rois = torch.cat([torch.zeros(4, 1), torch.tensor([[1.0, 2, 30, 40]]).expand(4, 4)], dim=1)
    targets = (rois, labels, torch.ones(4), torch.zeros(4, 4), torch.zeros(4, 4))
    found = head.loss(logits, torch.zeros(4, 4), *targets)['loss_cls']
    p, target = logits.double().sigmoid(), torch.zeros(4, CATEGORIES)
    target[0, 0] = target[2, 3] = 1
    each = -(target * p.log() + (1 - target) * (1 - p).log())
    torch.testing.assert_close(found.double(), each[:, :5].sum() / 4, rtol=1e-5, atol=1e-6)
    scores, parts = head.scores(logits, head.fc_cls.novel)
    torch.testing.assert_close(scores.double(), p, rtol=1e-5, atol=1e-7)
    assert torch.equal(parts['text_scores'], scores)


@pytest.mark.parametrize('sigmoid', [False, True])
def test_rivals_compete_where_a_word_is_annotated(roi_head_cfg, write_text, sigmoid):
    """The head's loss in float64: of background they learn nothing."""
    cfg = roi_head_cfg('text', rivals=write_text(4, name='old', seed=1), mask_novel=False)[
        'bbox_head'
    ]
    if sigmoid:
        cfg['cls_predictor_cfg'] |= SIGMOID
        cfg['loss_cls'] = dict(type='CrossEntropyLoss', use_sigmoid=True)
    head = build(cfg)
    labels = torch.tensor([0, CATEGORIES, 3, CATEGORIES])
    logits = torch.randn(4, CATEGORIES + 4 + (not sigmoid)) * 3
    rois = torch.cat([torch.zeros(4, 1), torch.tensor([[1.0, 2, 30, 40]]).expand(4, 4)], dim=1)
    targets = (rois, labels, torch.ones(4), torch.zeros(4, 4), torch.zeros(4, 4))
    found = head.loss(logits, torch.zeros(4, 4), *targets)['loss_cls']
    values, expected = logits.double(), 0.0
    for row, label in zip(values, labels.tolist(), strict=True):
        named = label < CATEGORIES
        competing = row[: CATEGORIES + 4] if named else row[:CATEGORIES]
        if sigmoid:
            p, target = competing.sigmoid(), torch.zeros(len(competing))
            target[label : label + named] = 1
            expected -= (target * p.log() + (1 - target) * (1 - p).log()).sum() / 4
        else:
            competing = torch.cat([competing, row[-1:]])  # and background
            expected -= competing.log_softmax(0)[label if named else -1] / 4
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_weights_of_classes_beside_rivals_are_refused(roi_head_cfg, write_text):
    cfg = roi_head_cfg('vild', rivals=write_text(4, name='old'))['bbox_head']
    cfg['loss_cls'] = dict(type='CrossEntropyLoss', class_weight=[1.0] * (CATEGORIES + 1))
    with pytest.raises(ValueError, match='has a class_weight for each word and background, and ri'):
        build(cfg)


def test_a_temperature_that_nothing_teaches_is_refused(roi_head_cfg):
    with pytest.raises(ValueError, match='no annotation teaches .*leave learned_temperature out'):
        build(roi_head_cfg('image', learned_temperature=True))


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='VarifocalLoss'), dict(type='QualityFocalLoss'),
        dict(type='FocalLoss', activated=True), dict(type='CrossEntropyLoss'),
        dict(type='LocalisationQualityLoss'), None,
    ],
)  # fmt: skip
def test_a_loss_of_sigmoids_that_has_other_targets_is_refused(roi_head_cfg, loss):
    cfg = roi_head_cfg('text')['bbox_head']
    cfg['cls_predictor_cfg'] |= SIGMOID
    with pytest.raises(ValueError, match='a sigmoid of each word.* or FocalLoss, with use_sig'):
        build(dict(cfg, loss_cls=loss))


def test_an_accuracy_of_sigmoids_is_not_logged(roi_head_cfg, make_sample):
    """mmdet's is of labels, to which background is a word, and here it is none."""
    for loss in (None, 'CrossEntropyLoss'):
        head = plus_head(roi_head_cfg, 'text', loss, iou=False)
        losses = head.loss(feature_maps(), proposals(9, 9), [make_sample(3, 5) for _ in range(2)])
        assert ('acc' in losses) == (loss is None)


def test_an_ensemble_of_a_sigmoid_and_a_softmax(roi_head_cfg):
    """The branch that no annotation teaches has the given temperature, and no bias."""
    head = plus_head(roi_head_cfg, 'ensemble', iou=False).bbox_head.eval()
    image = head.image_branch
    assert image.fc_cls.bias is None and image.fc_cls.logit_scale is None
    rois = torch.randn(6, 8, 7, 7)
    with torch.no_grad():
        logits, _ = head(rois)
        found, parts = head.scores(logits, head.fc_cls.novel)
        embeddings = head.embed(rois)[0]
        p_text = head.fc_cls.classify(embeddings[:, 0]).double().sigmoid()
        p_image = image.fc_cls.classify(embeddings[:, 1]).double().softmax(dim=1)
    assert logits.shape == (6, 2 * CATEGORIES)
    exponents = torch.tensor([2 / 3] * 5 + [1 / 3] * 2, dtype=torch.float64)
    expected = p_text**exponents * p_image ** (1 - exponents)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(parts['image_scores'].double(), p_image, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize('variant', ['text', 'ensemble'])
@pytest.mark.parametrize('decoded', [False, True])
def test_ious_are_learned_of_regions_on_objects(roi_head_cfg, variant, decoded):
    """The IoU of a region with its object, by mmdet's own encoding of the box, or the box."""
    heads = []
    for with_iou in (True, False):
        cfg = roi_head_cfg(variant if with_iou else 'text')
        cfg['bbox_head'] |= dict(reg_decoded_bbox=decoded)
        if with_iou:
            cfg['bbox_head']['loss_iou'] = dict(type='LocalisationQualityLoss')
        heads.append(build(cfg).bbox_head)
    head, without = heads
    boxes = torch.tensor([[10.0, 10, 30, 30], [12, 8, 40, 44], [0, 0, 20, 20], [5, 5, 9, 9]])
    objects = torch.tensor([[14.0, 10, 34, 30], [12, 8, 40, 44], [0, 0, 0, 0], [0, 0, 0, 0]])
    labels = torch.tensor([2, 0, CATEGORIES, CATEGORIES])
    deltas, weights = torch.zeros(4, 4), torch.zeros(4, 4)
    encoded = objects if decoded else head.bbox_coder.encode(boxes, objects)
    deltas[:2], weights[:2] = encoded[:2], 1.0
    rois = torch.cat([torch.zeros(4, 1), boxes], dim=1)
    quality = torch.tensor([0.3, -1.0, 5.0, -5.0])
    logits = torch.randn(4, CATEGORIES + 1)
    bbox_pred = torch.cat([torch.randn(4, 4), quality[:, None]], dim=1)
    targets = (rois, labels, torch.ones(4), deltas, weights)
    found = head.loss(logits, bbox_pred, *targets)
    expected = (quality[:2].sigmoid() - torch.tensor([16 / 24, 1.0])).abs().sum() / 2
    torch.testing.assert_close(found['loss_iou'], expected, rtol=1e-4, atol=1e-5)
    others = without.loss(logits, bbox_pred[:, :4], *targets)
    assert all(torch.equal(found[key], others[key]) for key in ('loss_cls', 'loss_bbox'))


@pytest.mark.parametrize('weight', [0.0, 0.5, 0.8])
def test_scores_are_geometric_means_with_the_iou(roi_head_cfg, make_sample, weight):
    head = plus_head(roi_head_cfg, 'ensemble').eval()
    head.bbox_head.iou_weight = weight
    head.bbox_head.fc_iou.weight.data.normal_(std=0.5)
    metas = [make_sample().metainfo]
    maps, regions = feature_maps(1), proposals(9)
    with torch.no_grad():
        (found,) = head.predict_bbox(maps, metas, regions, rcnn_test_cfg=None)
        rois = torch.cat([torch.zeros(9, 1), regions[0].bboxes], dim=1)
        logits, bbox_pred = head.bbox_head(head.bbox_roi_extractor(maps, rois))
        scores, _ = head.bbox_head.scores(logits, head.bbox_head.fc_cls.novel)
        cfg = head.test_cfg | dict(explain=1)
        (explained,) = head.predict_bbox(maps, metas, regions, rcnn_test_cfg=cfg)
    ious = bbox_pred[:, 4].double().sigmoid()
    assert ious.std() > 0.01
    expected = scores.double() ** (1 - weight) * ious[:, None] ** weight
    torch.testing.assert_close(found.scores.double(), expected, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(found.iou_scores.double(), ious, rtol=1e-4, atol=1e-6)
    rows = (explained.scores[:, None, None] == found.scores).any(dim=2).int().argmax(dim=1)
    torch.testing.assert_close(explained.iou_scores.double(), ious[rows], rtol=1e-4, atol=1e-6)
