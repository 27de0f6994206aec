"""Lazy NMS finds what mmdet's own finds."""

from collections import Counter

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from mmdet.models.layers import multiclass_nms
from mmdet.models.roi_heads.bbox_heads import bbox_head
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torchvision.ops import nms

from mmdet_vild.models import lazy_multiclass_nms, lazy_nms

pytestmark = pytest.mark.onedl

NMS = ConfigDict(type='nms', iou_threshold=0.5)
TF_NMS = ConfigDict(type='tf_nms', iou_threshold=0.5)


def make(seed, num_boxes, num_classes, extent, levels=0, fraction=0.0):
    """Boxes of whole numbers or, with a fraction added, others; scores with ties."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(0, extent, (num_boxes, 2), generator=generator)
    size = torch.randint(1, 40, (num_boxes, 2), generator=generator)
    boxes = torch.cat([start, start + size], dim=1).float() + fraction
    scores = torch.rand(num_boxes, num_classes + 1, generator=generator)
    if levels:
        scores = (scores * levels).floor() / levels
    return boxes, scores


def rows(dets, labels):
    return [(*det, label) for det, label in zip(dets.tolist(), labels.tolist(), strict=True)]


def assert_same(boxes, scores, score_thr=0.0, nms_cfg=NMS, max_num=300):
    """The same detections, in descending order; at a tie for the last place, some of those tied."""
    everything = Counter(rows(*multiclass_nms(boxes, scores, score_thr, nms_cfg.copy(), -1)))
    expected = rows(*multiclass_nms(boxes, scores, score_thr, nms_cfg.copy(), max_num))
    found = rows(*lazy_multiclass_nms(boxes, scores, score_thr, nms_cfg.copy(), max_num))
    assert [row[4] for row in found] == [row[4] for row in expected]
    last = expected[-1][4] if expected else 0
    assert Counter(r for r in found if r[4] > last) == Counter(r for r in expected if r[4] > last)
    assert not Counter(found) - everything


@given(
    seed=st.integers(0, 10**6),
    num_boxes=st.integers(0, 60),
    num_classes=st.integers(1, 30),
    extent=st.sampled_from([1, 20, 200]),  # 1: all of them overlap
    levels=st.sampled_from([0, 1, 2, 10, 100]),
    score_thr=st.sampled_from([-1.0, 0.0, 1e-4, 0.3, 0.9, 2.0]),
    iou=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    max_num=st.sampled_from([-1, 1, 3, 20, 300]),
    factor=st.sampled_from([2, 4]),
    split=st.sampled_from([1, 50, 5000]),
    fraction=st.sampled_from([0.0, 0.1, -30.3]),
)
def test_finds_what_mmdet_finds(
    seed, num_boxes, num_classes, extent, levels, score_thr, iou, max_num, factor, split, fraction
):
    # Where no box reaches into the image, the places to which mmdet moves the classes overlap.
    assume(split == 5000 or fraction >= 0)
    boxes, scores = make(seed, num_boxes, num_classes, extent, levels, fraction)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy_nms, 'FACTOR', factor)
        patch.setattr(lazy_nms, 'SPLIT', split)
        assert_same(boxes, scores, score_thr, ConfigDict(NMS, iou_threshold=iou), max_num)


@pytest.mark.parametrize('fraction', [0.0, 0.3])
def test_mmdet_splits_and_this_does_not(fraction):
    """mmdet goes class by class beyond 10000 candidates."""
    assert_same(*make(0, 400, 60, 300, 0, fraction))


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 8))
def test_boxes_of_each_class(seed, num_boxes, num_classes):
    boxes, scores = make(seed, num_boxes * num_classes, num_classes, 50)
    assert_same(boxes.view(num_boxes, -1), scores[:num_boxes], max_num=5)


@pytest.mark.parametrize('nms_cfg', [None, ConfigDict(NMS, class_agnostic=True)])
def test_nms_of_all_classes_together_and_none(nms_cfg):
    arguments = (*make(1, 50, 5, 60), 0.0, nms_cfg, 7)
    assert all(map(torch.equal, lazy_multiclass_nms(*arguments), multiclass_nms(*arguments)))


def test_soft_nms_sees_every_candidate(monkeypatch):
    """It changes scores, so that any candidate may come out best. Without mmcv's operator here."""
    monkeypatch.setattr(lazy_nms, 'multiclass_nms', lambda *arguments, **_: arguments)
    arguments = (*make(1, 50, 5, 60), 0.0, ConfigDict(type='soft_nms'), 7)
    assert lazy_multiclass_nms(*arguments) == arguments


@pytest.fixture
def seen(monkeypatch):
    """How many candidates each NMS gets."""
    counts = []
    monkeypatch.setattr(lazy_nms, 'nms', lambda *args: counts.append(len(args[0])) or nms(*args))
    return counts


def test_looks_at_few_candidates(seen):
    lazy_multiclass_nms(*make(0, 300, 100, 300), 0.0, NMS, 50)
    assert seen == [200]


@pytest.mark.parametrize('nms_cfg', [NMS, TF_NMS])
def test_many_candidates_go_class_by_class(seen, nms_cfg):
    """In one NMS they take up to 37 times as long as in mmdet's, which goes class by class, too."""
    boxes, scores = make(0, 300, 40, 300)
    lazy_multiclass_nms(boxes, torch.full_like(scores, 0.1), 0.0, nms_cfg, 100)
    assert [count for count in seen if count] == [300] * 40
    seen.clear()
    boxes = boxes[:1].expand(300, 4)  # a detection a class, however many are looked at
    lazy_multiclass_nms(boxes, scores, 0.0, nms_cfg, 100)
    assert seen[:2] == [400, 1600] and len(seen) > 40 and max(seen[2:]) <= 300


@pytest.mark.parametrize('reg_class_agnostic', [True, False])
def test_any_bbox_head_by_config(reg_class_agnostic, monkeypatch):
    """mmdet's own head in Mask R-CNN, with an image without proposals."""
    torch.manual_seed(0)
    layer = dict(type='RoIAlign', output_size=7, sampling_ratio=0)
    cfg = dict(
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor', roi_layer=layer, out_channels=8, featmap_strides=[4]
        ),
        bbox_head=dict(
            type='Shared2FCBBoxHead',
            in_channels=8,
            fc_out_channels=16,
            num_classes=7,
            reg_class_agnostic=reg_class_agnostic,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        ),
        test_cfg=dict(score_thr=0.0, nms=NMS, max_per_img=9),
    )
    stock, lazy = (
        MODELS.build(ConfigDict(type=kind, **cfg)).eval()
        for kind in ('StandardRoIHead', 'LazyNMSRoIHead')
    )
    for parameter in stock.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    lazy.load_state_dict(stock.state_dict())
    features = (torch.randn(2, 8, 32, 32),)
    proposals = [make(0, 40, 1, 60)[0], torch.zeros(0, 4)]
    metas = [dict(img_shape=(128, 128), scale_factor=(2.0, 2.0))] * 2
    for boxes in (proposals, [p[:0] for p in proposals]):
        results = [InstanceData(bboxes=each) for each in boxes]
        for rescale in (False, True):
            arguments = (features, metas, results, stock.test_cfg, rescale)
            with torch.no_grad(), monkeypatch.context() as patch:
                of_stock = stock.predict_bbox(*arguments)
                if len(results[0]):  # its NMS, which takes a hundred times as long, is not called
                    patch.setattr(bbox_head, 'multiclass_nms', None)
                of_lazy = lazy.predict_bbox(*arguments)
            for found, expected in zip(of_lazy, of_stock, strict=True):
                torch.testing.assert_close(dict(found.items()), dict(expected.items()))
    assert len(expected) == 0


@pytest.mark.gpu
def test_on_a_gpu():
    assert_same(*(tensor.cuda() for tensor in make(0, 400, 60, 300)))


def test_boxes_are_rounded_as_mmdet_rounds_them():
    """Far-off classes are moved by a million pixels, where float32 has eighths of a pixel."""
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(300, 2, generator=generator) * 900
    boxes = torch.cat([start, start + 30 + 60 * torch.rand(300, 2, generator=generator)], dim=1)
    boxes = (boxes[:30, None] + torch.randn(30, 10, 4, generator=generator) * 8).view(-1, 4)
    scores = torch.zeros(300, 1204)
    scores[:, 1100:1203] = torch.rand(300, 103, generator=generator)
    assert_same(boxes, scores)


def test_tf_nms_counts_swapped_corners_as_what_they_cover():
    """TensorFlow's NMS takes the smaller corner for the first; the authors' coder swaps some."""
    upright = torch.tensor([[10.0, 5, 10.5, 80], [10.1, 8, 10.6, 82], [40, 5, 40.5, 80]])
    swapped = upright[:, [2, 1, 0, 3]]
    scores = torch.tensor([[0.9, 0], [0.8, 0], [0.7, 0]])
    dets, _ = lazy_multiclass_nms(swapped, scores, 0.0, TF_NMS, 300)
    assert dets[:, :4].tolist() == swapped[[0, 2]].tolist()
    expected, _ = multiclass_nms(upright, scores, 0.0, NMS, 300)
    assert dets[:, 4].tolist() == expected[:, 4].tolist()


@pytest.mark.parametrize('num_classes, max_num', [(1, 5), (3, -1), (40, 100), (1203, 300)])
def test_tf_nms_takes_each_class_by_itself(num_classes, max_num):
    """Without the rounding of boxes that are moved by the class, a place of its own for each."""
    generator = torch.Generator().manual_seed(num_classes)
    start = torch.rand(60, 2, generator=generator) * 600
    boxes = torch.cat([start, start + 200 + torch.rand(60, 2, generator=generator) * 200], dim=1)
    count = 60 * (num_classes + 1)
    scores = torch.randperm(count, generator=generator).view(60, -1) / count  # no ties
    found, labels = lazy_multiclass_nms(boxes, scores, 0.5, TF_NMS, max_num)
    expected = []
    for label in range(num_classes):
        rows_of = (scores[:, label] > 0.5).nonzero().flatten()
        keep = rows_of[nms(boxes[rows_of], scores[rows_of, label], 0.5)]
        expected += [(*boxes[i].tolist(), scores[i, label].item(), label) for i in keep.tolist()]
    expected.sort(key=lambda row: -row[4])
    assert rows(found, labels) == (expected if max_num < 0 else expected[:max_num])


def test_tf_nms_does_not_round_boxes():
    """Two overlap by a little more than the threshold: one is left, in the last class too."""
    boxes = torch.tensor([[0.0, 0, 300, 300], [99.99, 0, 399.99, 300], [900, 900, 999, 999]])
    scores = torch.cat([torch.ones(1, 1204), torch.full((1, 1204), 0.9), torch.zeros(1, 1204)])
    dets, labels = lazy_multiclass_nms(boxes, scores, 0.5, TF_NMS, -1)
    assert labels.sort().values.tolist() == list(range(1203)) and (dets[:, 4] == 1).all()


@pytest.mark.parametrize('wrong', [dict(type='tf_nms'), dict(TF_NMS, max_num=3)])
def test_tf_nms_takes_nothing_else(wrong):
    with pytest.raises(ValueError, match="'tf_nms' takes an iou_threshold and nothing else"):
        lazy_multiclass_nms(*make(0, 3, 2, 20), 0.0, ConfigDict(wrong), 5)
