"""Partial objects, and the objectness in scores, against a reference of loops and NMS's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.layers import multiclass_nms
from mmengine.config import ConfigDict

from mmdet_vild.models import Words, partial_objects
from mmdet_vild.models.explained_detections import explained_detections

pytestmark = pytest.mark.onedl

WHOLE = st.integers(0, 12)
#: x, y, width, height, score in tenths, label; some boxes have no extent.
DETECTIONS = st.lists(
    st.tuples(WHOLE, WHOLE, WHOLE, WHOLE, st.integers(0, 10), st.integers(0, 2)), max_size=12
)
OVERLAPS = st.sampled_from([0.0, 0.5, 0.75, 1.0])
RATIOS = st.sampled_from([0.0, 0.5, 1.0])


def tensors(detections):
    rows = torch.tensor(detections, dtype=torch.float32).reshape(-1, 6)
    boxes = torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:4]], dim=1)
    return boxes, rows[:, 4] / 10, rows[:, 5].long()


def by_loops(detections, overlap, ratio):
    """In whole numbers, pair by pair, the largest first."""
    order = sorted(range(len(detections)), key=lambda i: -detections[i][2] * detections[i][3])
    found, whole = [False] * len(detections), []
    for i in order:
        x, y, w, h, score, label = detections[i]
        parts = False
        for x2, y2, w2, h2, score2, label2 in whole:
            across = max(min(x + w, x2 + w2) - max(x, x2), 0)
            down = max(min(y + h, y2 + h2) - max(y, y2), 0)
            larger = label == label2 and w2 * h2 > w * h and score2 >= ratio * score
            parts |= larger and across * down > overlap * w * h
        found[i] = parts
        if not parts:
            whole.append(detections[i])
    return found


@given(DETECTIONS, OVERLAPS, RATIOS)
def test_is_what_loops_find(detections, overlap, ratio):
    found = partial_objects(*tensors(detections), overlap, ratio)
    assert found.dtype == torch.bool and found.tolist() == by_loops(detections, overlap, ratio)


@given(DETECTIONS, OVERLAPS, RATIOS, st.randoms())
def test_order_does_not_matter_and_nothing_is_left_to_drop(detections, overlap, ratio, random):
    order = list(range(len(detections)))
    random.shuffle(order)
    found = partial_objects(*tensors(detections), overlap, ratio)
    shuffled = partial_objects(*tensors([detections[i] for i in order]), overlap, ratio)
    assert shuffled.tolist() == found[order].tolist()
    kept = [row for row, part in zip(detections, found.tolist(), strict=True) if not part]
    assert not partial_objects(*tensors(kept), overlap, ratio).any()


def detections(seed: int, sigmoid: bool, **settings):
    """Those of 30 regions and 5 words, what mmdet has, and the regions' objectness and scores."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(30, 2, generator=generator) * 60
    boxes = torch.cat([start, start + 5 + 60 * torch.rand(30, 2, generator=generator)], dim=1)
    logits = 3 * torch.randn(30, 5, generator=generator)
    scores = logits.sigmoid() if sigmoid else logits.softmax(dim=1)
    objectness = torch.rand(30, generator=generator)
    words = Words(tuple('abcde'), torch.eye(5), torch.zeros(5, dtype=torch.bool), 5)
    cfg = ConfigDict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20)
    cfg.update(settings)
    parts = {'text_scores': scores, 'objectness': objectness}
    found = explained_detections(boxes, scores, cfg, words, parts)
    padded = torch.cat([scores, scores[:, :1]], dim=1)
    stock = multiclass_nms(boxes, padded, 0.0, cfg.nms, 20, return_inds=True)
    return found, stock, objectness, scores


@pytest.mark.parametrize('sigmoid', [False, True])
@given(seed=st.integers(0, 10**6))
def test_off_is_what_nms_finds(sigmoid, seed):
    """Bit for bit, of a softmax and of sigmoids, whose scores have any sum."""
    for settings in ({}, dict(objectness_weight=0.0, partial=None), dict(objectness_weight=None)):
        found, (dets, labels, _), *_ = detections(seed, sigmoid, **settings)
        assert torch.equal(found.bboxes, dets[:, :4]) and torch.equal(found.labels, labels)
        assert torch.equal(found.scores, dets[:, 4])


@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0.3, 0.5, 1.0]))
def test_on_changes_what_nms_has_found(seed, sigmoid, weight):
    """The same detections with other scores, in their order, and of these the whole objects."""
    settings = dict(objectness_weight=weight, explain=2)
    found, (dets, labels, indices), objectness, scored = detections(seed, sigmoid, **settings)
    known = objectness[indices // 5].double()
    scores = dets[:, 4].double() ** (1 - weight) * known**weight
    order = scores.argsort(descending=True, stable=True)
    torch.testing.assert_close(found.scores.double(), scores[order], rtol=1e-5, atol=1e-8)
    assert (found.scores.diff() <= 0).all()
    rows = (found.bboxes[:, None] == dets[:, :4]).all(2) & (found.labels[:, None] == labels)
    assert (rows.sum(dim=1) == 1).all() and (rows.sum(dim=0) == 1).all()
    assert torch.equal(found.objectness, objectness[(indices // 5)[rows.int().argmax(dim=1)]])
    assert torch.equal(found.text_scores, dets[rows.int().argmax(dim=1), 4])
    # The other words of a region, as if they were detected.
    of_rows = (indices // 5)[rows.int().argmax(dim=1)]
    others = scored[of_rows].double().scatter(1, found.labels[:, None], -1).topk(2).values
    others = others ** (1 - weight) * objectness[of_rows, None].double() ** weight
    torch.testing.assert_close(found.other_scores.double(), others, rtol=1e-5, atol=1e-8)
    partial = dict(overlap=0.6, score_ratio=0.5)
    whole, *_ = detections(seed, sigmoid, partial=partial, **settings)
    expected = found[~partial_objects(found.bboxes, found.scores, found.labels, 0.6, 0.5)]
    assert len(whole) <= len(found)
    for key in ('bboxes', 'scores', 'labels', 'objectness', 'text_scores'):
        assert torch.equal(whole[key], expected[key]), key
    torch.testing.assert_close(whole.other_scores, expected.other_scores)


def test_a_crop_of_a_part_goes_and_what_is_beside_stays():
    """Of two cups, the handle of one, and a plate under it."""
    boxes = torch.tensor([[0.0, 0, 40, 40], [30, 5, 42, 30], [60, 0, 90, 40], [0, 0, 12, 40]])
    scores, labels = torch.tensor([0.6, 0.8, 0.5, 0.9]), torch.tensor([1, 1, 1, 2])
    assert partial_objects(boxes, scores, labels, 0.8).tolist() == [False, True, False, False]
    # The whole cup is less sure of itself than is asked for.
    assert not partial_objects(boxes, scores, labels, 0.8, score_ratio=0.9).any()


def test_what_is_a_part_itself_has_no_parts():
    """So the largest, which is too unsure of itself for the smallest, does not take it by steps."""
    boxes = torch.tensor([[10.0, 10, 20, 20], [5, 5, 30, 30], [0, 0, 50, 50]])
    scores, labels = torch.tensor([1.0, 0.6, 0.35]), torch.zeros(3)
    assert partial_objects(boxes, scores, labels, 0.8, 0.5).tolist() == [False, True, False]
    assert partial_objects(boxes, scores, labels, 0.8, 0.3).tolist() == [True, True, False]


def test_objectness_that_nobody_knows_is_refused():
    words = Words(('a',), torch.eye(1), torch.zeros(1, dtype=torch.bool), 1)
    nms = dict(type='nms', iou_threshold=0.5)
    cfg = ConfigDict(score_thr=0.0, nms=nms, max_per_img=5, objectness_weight=0.5)
    with pytest.raises(ValueError, match='objectness_weight in test_cfg.rcnn is 0.5, but the'):
        explained_detections(torch.rand(3, 4), torch.rand(3, 1), cfg, words, {'objectness': None})
