"""What the RPN of localisation quality learns, and proposes."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from small_models import SIZE, build

pytestmark = pytest.mark.onedl

META = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), (SIZE, SIZE))
META |= dict(scale_factor=(1.0, 1.0))
ASSIGNER = dict(type='MaxIoUAssigner', pos_iou_thr=0.3, neg_iou_thr=0.1, min_pos_iou=0.3)
SAMPLER = dict(type='RandomSampler', num=256, pos_fraction=1.0, neg_pos_ub=0)
SAMPLER |= dict(add_gt_as_proposals=False)
OBJECTS = torch.tensor([[4.0, 6, 30, 34], [30, 28, 60, 62]])


def config(sampler: dict = SAMPLER, **options) -> dict:
    return dict(
        type='OLNRPNHead',
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[4, 6], ratios=[1.0], strides=[4, 8]
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_bbox=dict(type='L1Loss'),
        train_cfg=ConfigDict(
            assigner=ASSIGNER, sampler=sampler, allowed_border=0, pos_weight=-1, debug=False
        ),
        test_cfg=ConfigDict(
            nms_pre=100, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
        ),
        **options,
    )  # fmt: skip


def head(**options) -> torch.nn.Module:
    return build(config(**options))


def features() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(2)
    return tuple(torch.randn(1, 8, SIZE // stride, SIZE // stride) for stride in (4, 8))


def annotated(boxes: torch.Tensor) -> InstanceData:
    return InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))


@torch.no_grad()
def expected_loss(rpn, maps, quality: str) -> tuple[float, int]:
    """Anchor by anchor: the mean distance of what is predicted on objects, and their number."""
    scores, _ = rpn(maps)
    sizes = [s.shape[-2:] for s in scores]
    anchors = torch.cat(rpn.prior_generator.grid_priors(sizes, device='cpu'))
    predicted = torch.cat([s[0].permute(1, 2, 0).flatten() for s in scores]).sigmoid()
    inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2:] < SIZE).all(1)
    ious = bbox_overlaps(anchors, OBJECTS)
    best = ious.argmax(dim=1)
    # MaxIoUAssigner: of enough IoU, or the best anchor of an object.
    top = ious[inside].amax(dim=0)
    on_object = inside & ((ious.amax(dim=1) >= 0.3) | ((ious == top) & (top >= 0.3)).any(dim=1))
    total = 0.0
    for i in on_object.nonzero().flatten().tolist():
        x1, y1, x2, y2 = OBJECTS[best[i]].tolist()
        x, y = ((anchors[i, :2] + anchors[i, 2:]) / 2).tolist()
        target = ious[i, best[i]].item()
        if quality == 'centerness':
            sides = [(x - x1, x2 - x), (y - y1, y2 - y)]
            parts = [max(min(pair), 0) / max(pair) for pair in sides]
            target = (parts[0] * parts[1]) ** 0.5
        total += abs(predicted[i].item() - target)
    count = on_object.sum().item()
    return total / (count + 1), count  # mmdet counts one negative where there is none


@pytest.mark.parametrize('quality', ['centerness', 'iou'])
def test_learns_of_anchors_on_objects_alone(quality):
    rpn, maps = head(quality=quality), features()
    rpn.rpn_cls.weight.data.normal_(std=0.5)
    expected, count = expected_loss(rpn, maps, quality)
    assert 10 < count < 256  # all are sampled
    losses = rpn.loss_by_feat(*rpn(maps), [annotated(OBJECTS)], [META])
    assert sum(losses['loss_rpn_cls']).item() == pytest.approx(expected, rel=1e-4)
    assert sum(losses['loss_rpn_bbox']) > 0


def test_what_nobody_annotated_is_not_taught_to_be_background():
    """No gradient where no object is; mmdet's RPN has one everywhere."""
    rpn, maps = head(), features()
    scores, deltas = rpn(maps)
    for score in scores:
        score.retain_grad()
    losses = rpn.loss_by_feat(scores, deltas, [annotated(OBJECTS[:1])], [META])
    sum(losses['loss_rpn_cls']).backward()
    assert scores[0].grad[..., :8, :8].any()
    assert not scores[0].grad[..., 10:, 10:].any()


def test_no_objects_at_all():
    """Losses of zero, and a gradient for every parameter."""
    rpn, maps = head(), features()
    losses = rpn.loss_by_feat(*rpn(maps), [annotated(OBJECTS[:0])], [META])
    total = sum(sum(parts) for parts in losses.values())
    total.backward()
    assert total == 0
    assert all(p.grad is not None and not p.grad.any() for p in rpn.parameters())


def test_proposes_as_mmdet_does():
    """Only what is learned differs: with the same weights the boxes and their scores are equal."""
    rpn, maps = head().eval(), features()
    stock = config() | dict(type='RPNHead')
    stock |= dict(loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True))
    stock = build(stock).eval()
    stock.load_state_dict(rpn.state_dict())
    with torch.no_grad():
        (found,), (expected,) = (
            each.predict_by_feat(*each(maps), batch_img_metas=[META]) for each in (rpn, stock)
        )
    assert len(found) == 20
    assert torch.equal(found.bboxes, expected.bboxes) and torch.equal(found.scores, expected.scores)


def test_refused():
    for wrong in (dict(type='CrossEntropyLoss', use_sigmoid=True), dict(type='L1Loss')):
        found = f'must be a LocalisationQualityLoss, found {wrong["type"]}'
        with pytest.raises(TypeError, match=found):
            head(loss_cls=wrong)
    with pytest.raises(ValueError, match='learns of no negatives, but the sampler'):
        head(sampler={key: value for key, value in SAMPLER.items() if key != 'neg_pos_ub'})
    with pytest.raises(ValueError, match="pos_fraction': 0.5.*set its neg_pos_ub=0"):
        head(sampler=dict(SAMPLER, pos_fraction=0.5))
    with pytest.raises(ValueError, match="quality of OLNRPNHead must be 'centerness' or 'iou'"):
        head(quality='area')
    without = {key: value for key, value in config().items() if key != 'train_cfg'}
    assert MODELS.build(ConfigDict(copy.deepcopy(without))).quality == 'centerness'
