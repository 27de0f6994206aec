"""That each row meets its own target, and scores, deltas and initial weights are the paper's."""

import copy

import pytest
import torch
from mmengine.structures import InstanceData
from small_models import CATEGORIES, TEACHER, WIDTH, build, feature_maps, proposals

pytestmark = pytest.mark.onedl

COUNTS = (5, 3)


@pytest.fixture(params=['image', 'vild', 'ensemble'])
def head(request, roi_head_cfg):
    """In test mode, in which batch norm computes each row by itself."""
    head = build(roi_head_cfg(request.param))
    for norm in head.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.running_mean.normal_(std=0.1)
    return head.eval()


@pytest.fixture
def batch(make_sample):
    """Feature maps, proposals and samples of two images."""
    torch.manual_seed(1)
    return feature_maps(), proposals(20, 20), [make_sample(3, count) for count in COUNTS]


@torch.no_grad()
def own_embeddings(head, features, samples) -> list[torch.Tensor]:
    """What the branch that distils makes of each region: one at a time, of its image alone."""
    branch = getattr(head.bbox_head, 'image_branch', head.bbox_head)
    found = []
    for image, sample in enumerate(samples):
        levels = tuple(level[image : image + 1] for level in features)
        rois = [torch.cat([torch.zeros(1), box])[None] for box in sample.distill_instances.bboxes]
        rows = [branch.embed(head.bbox_roi_extractor(levels, roi))[0] for roi in rois]
        found.append(torch.cat(rows))
    return found


def distill(head, batch, embeddings) -> float:
    """The distillation loss with these embeddings of the teacher, of each image."""
    features, proposals, samples = copy.deepcopy(batch)
    for sample, rows in zip(samples, embeddings, strict=True):
        sample.distill_instances.embeddings = rows
    return head.loss(features, proposals, samples)['loss_distill'].item()


def test_every_region_meets_its_own_embedding(head, batch):
    own = own_embeddings(head, batch[0], batch[2])
    assert distill(head, batch, own) < 1e-5
    turned = [rows.flip(0) for rows in own]
    both = torch.cat(own)
    others = [
        turned,
        [own[0], turned[1]],
        [turned[0], own[1]],
        both.flip(0).split(COUNTS),
        torch.cat(own[::-1]).split(COUNTS),
        [both[[1, 0, 2, 3, 4]], own[1]],
    ]
    for rows in others:
        assert distill(head, batch, rows) > 0.01


def test_every_region_has_its_own_weight(head, batch):
    """A teacher that is right about all but two regions, of which one has a weight."""
    own = own_embeddings(head, batch[0], batch[2])
    wrong = [rows.clone() for rows in own]
    wrong[0][1] = -wrong[0][1]
    wrong[1][2] = -wrong[1][2]
    distances = [2 * own[image][row].abs().sum().item() for image, row in ((0, 1), (1, 2))]
    factor = head.distill_loss.loss_weight
    for weights, expected in (
        ([1, 1, 1, 1, 1, 1, 1, 1], sum(distances) / 8),
        ([1, 0, 1, 1, 1, 1, 1, 2], 2 * distances[1] / 8),
        ([1, 3, 1, 1, 1, 1, 1, 0], 3 * distances[0] / 9),
    ):
        rows = torch.tensor(weights, dtype=torch.float32).split(COUNTS)
        for sample, row in zip(batch[2], rows, strict=True):
            sample.distill_instances.weights = row
        assert distill(head, batch, wrong) == pytest.approx(factor * expected, rel=1e-4)


@pytest.mark.parametrize('regions', [2, 40])
def test_other_losses_are_those_without_regions(head, batch, roi_head_cfg, regions):
    """Of mmdet's own path, with the same RoIs: classes, boxes and masks have rows of their own."""
    features, proposals, samples = batch
    without = build(roi_head_cfg('text')).eval()
    without.load_state_dict(head.state_dict(), strict=False)
    torch.manual_seed(3)  # of mmdet's sampler
    expected = without.loss(features, copy.deepcopy(proposals), samples)
    for sample in samples:
        sample.distill_instances = InstanceData(
            bboxes=torch.tensor([[1.0, 2, 30, 40]]).repeat(regions, 1),
            embeddings=torch.randn(regions, WIDTH),
            metainfo=dict(teacher=TEACHER),
        )
    torch.manual_seed(3)
    found = head.loss(features, copy.deepcopy(proposals), samples)
    names = {name for name in expected if name in found}
    assert names >= {'loss_bbox', 'loss_mask'} and expected['loss_bbox'] > 0
    assert 'loss_cls' in names or head.bbox_head.fc_cls.background is None
    for name in names:
        torch.testing.assert_close(found[name], expected[name], msg=name)


def test_every_box_moves_by_its_own_deltas(head, batch):
    """Detections of a batch against each RoI by itself, decoded by mmdet's coder."""
    features, proposals, samples = batch
    metas = [sample.metainfo for sample in samples]
    head.bbox_head.fc_reg.weight.data.normal_(std=0.5)
    with torch.no_grad():
        found = head.predict_bbox(features, metas, proposals, rcnn_test_cfg=None)
        for image, result in enumerate(found):
            levels = tuple(level[image : image + 1] for level in features)
            for row, box in enumerate(proposals[image].bboxes):
                roi = torch.cat([torch.zeros(1), box])[None]
                deltas = head.bbox_head(head.bbox_roi_extractor(levels, roi))[1]
                shape = metas[image]['img_shape']
                expected = head.bbox_head.bbox_coder.decode(box[None], deltas, max_shape=shape)
                torch.testing.assert_close(result.bboxes[row], expected[0], rtol=1e-4, atol=1e-3)


def test_initial_weights(head):
    """ViLD's: the projection and the background are normal with 0.01, the boxes with 0.001."""
    branches = [head.bbox_head, getattr(head.bbox_head, 'image_branch', head.bbox_head)]
    for branch in branches:
        weight, bias = branch.fc_cls.projection.weight, branch.fc_cls.projection.bias
        assert 0.008 < weight.std() < 0.012 and not bias.any()
    assert 0.0005 < head.bbox_head.fc_reg.weight.std() < 0.002
    if head.bbox_head.fc_cls.background is not None:
        assert 0.005 < head.bbox_head.fc_cls.background.std() < 0.02


@pytest.mark.parametrize('variant', ['text', 'image', 'vild', 'ensemble'])
def test_scores(roi_head_cfg, variant):
    """Against the formulas, class by class, in float64."""
    head = build(roi_head_cfg(variant, temperature=0.1)).bbox_head.eval()
    rois = torch.randn(6, 8, 7, 7)
    with torch.no_grad():
        logits, _ = head(rois)
        found, _ = head.scores(logits, head.fc_cls.novel)
        embeddings = head.embed(rois)[0]
        embeddings = embeddings[:, 0] if variant == 'ensemble' else embeddings
        text = head.fc_cls.classify(embeddings).double()
        image = getattr(head, 'image_branch', head)(rois)[0].double()
    p_text = text.exp() / text.exp().sum(1, keepdim=True)  # with what background takes
    p_image = image.exp() / image.exp().sum(1, keepdim=True)
    assert found.shape == (6, CATEGORIES)
    assert text.shape == (6, CATEGORIES + (variant != 'image'))
    assert image.shape == (6, CATEGORIES + (variant in ('text', 'vild')))
    for c in range(CATEGORIES):
        expected = p_text[:, c]
        if variant == 'ensemble':
            exponent = 1 / 3 if c >= CATEGORIES - 2 else 2 / 3
            expected = p_text[:, c] ** exponent * p_image[:, c] ** (1 - exponent)
        torch.testing.assert_close(found[:, c].double(), expected, rtol=1e-4, atol=1e-9)


def loss(kind: str, **options) -> dict:
    return dict(loss_cls=dict(type=kind, **options))


IOU = dict(type='LocalisationQualityLoss')
STOCK = dict(_delete_=True, type='Shared2FCBBoxHead', in_channels=8, num_classes=3)


@pytest.mark.parametrize(
    ('variant', 'change', 'error', 'message'),
    [
        ('vild', dict(cls_predictor_cfg=dict(type='Linear')), TypeError, 'be a CLIPTextClassifier'),
        ('vild', dict(num_shared_fcs=0), ValueError, 'num_shared_fcs of 1 or more'),
        ('vild', dict(num_cls_fcs=1), TypeError, r"does not take \['num_cls_fcs'\]"),
        ('ensemble', dict(ensemble_weight=1.5), ValueError, 'found 1.5'),
        ('vild', loss('FocalLoss'), ValueError, 'one of softmax.*FocalLoss'),
        ('vild', loss('SeesawLoss', num_classes=3), ValueError, 'one of softmax.*SeesawLoss'),
        ('vild', loss('CrossEntropyLoss', use_sigmoid=True), ValueError, 'softmax.*CrossEntropy'),
        ('image', dict(type='ViLDEnsembleBBoxHead'), ValueError, 'text branch .* a background'),
        ('vild', STOCK, TypeError, 'must be a ViLDBBoxHead'),
        *[
            ('vild', dict(loss_iou=dict(type=name)), TypeError, f'a LocalisationQ.* found {name}')
            for name in ('MSELoss', 'L1Loss', 'CrossEntropyLoss')
        ],
        ('vild', dict(loss_iou=IOU, with_reg=False), ValueError, 'loss_iou .* with_reg=True'),
    ],
)
def test_refused_bbox_heads(roi_head_cfg, variant, change, error, message):
    cfg, change = roi_head_cfg(variant), dict(change)
    kept = {} if change.pop('_delete_', False) else cfg['bbox_head']
    with pytest.raises(error, match=message):
        build(cfg | dict(bbox_head=kept | change))


def test_layout_of_the_convs_changes_no_value(head):
    """On a CPU they compute channels-last: the embeddings and the gradient are those of mmdet's."""
    branch, seen = getattr(head.bbox_head, 'image_branch', head.bbox_head), []
    conv = branch.shared_convs[0]
    conv.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    torch.manual_seed(0)
    x = torch.randn(6, conv.conv.in_channels, 7, 7, requires_grad=True)
    embeddings, _ = branch.embed(x)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    expected = x
    for each in (*branch.shared_convs, torch.nn.Flatten(), *branch.shared_fcs, branch.fc_cls.embed):
        expected = each(expected)
    assert seen[1].is_contiguous()
    towards = torch.randn_like(expected)
    found, wanted = (torch.autograd.grad(y, x, towards)[0] for y in (embeddings, expected))
    torch.testing.assert_close(embeddings, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())
