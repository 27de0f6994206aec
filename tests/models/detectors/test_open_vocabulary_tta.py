"""Views of an image, merged: as mmdet merges boxes, with all that belongs to them."""

import copy

import pytest
import torch
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import nn

from mmdet_vild.models import partial_objects

pytestmark = pytest.mark.onedl

HEIGHT, WIDTH = 30, 40
NAMES = ['cat', 'dog', 'owl']
CFG = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=12)


class Detector(nn.Module):
    """What its settings say."""

    test_cfg = ConfigDict(rcnn=dict(nms=dict(type='tf_nms', iou_threshold=0.5), max_per_img=12))
    test_step = None


def view(direction: str | None, count: int, seed: int) -> DetDataSample:
    """Random detections; the mask of each is its box, so that boxes and masks must agree."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(0, 20, (count, 2), generator=generator)
    boxes = torch.cat([start, start + torch.randint(4, 10, (count, 2), generator=generator)], 1)
    labels = torch.randint(0, 3, (count,), generator=generator)
    found = InstanceData(
        bboxes=boxes.float(),
        scores=torch.rand(count, generator=generator),
        labels=labels,
        masks=torch.stack([box_mask(box) for box in boxes]) if count else torch.zeros(0, 30, 40),
        label_names=[NAMES[label] for label in labels],
        novel=labels == 2,
    )
    meta = dict(ori_shape=(HEIGHT, WIDTH), flip=direction is not None, flip_direction=direction)
    return DetDataSample(metainfo=meta, pred_instances=found)


def box_mask(box: torch.Tensor) -> torch.Tensor:
    x1, y1, x2, y2 = box.int().tolist()
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[y1:y2, x1:x2] = True
    return mask


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
@pytest.mark.parametrize('counts', [(15, 20), (0, 9), (6, 0)])
def test_all_that_belongs_to_a_detection_stays_with_it(direction, counts) -> None:
    views = [view(None, counts[0], 0), view(direction, counts[1], 1)]
    plain = copy.deepcopy(views)
    for sample in plain:
        del sample.pred_instances.masks  # which mmdet refuses
    expected = DetTTAModel(ConfigDict(CFG), module=Detector()).merge_preds([plain])[0]
    model = MODELS.build(dict(type='OpenVocabularyTTA', module=Detector()))
    (sample,) = model.merge_preds([views])
    found = sample.pred_instances
    assert len(found) > 3 and sample.flip is False
    for key in ('bboxes', 'scores', 'labels'):
        torch.testing.assert_close(found[key], expected.pred_instances[key])
    assert found.label_names == [NAMES[label] for label in found.labels]
    assert torch.equal(found.novel, found.labels == 2)
    for box, mask in zip(found.bboxes, found.masks, strict=True):
        assert torch.equal(mask, box_mask(box))


def test_a_segmentor_is_refused() -> None:
    class Segmentor(Detector):
        test_cfg = ConfigDict(semantic_on=True)

    with pytest.raises(ValueError, match='--tta merges the boxes of regions, and Segmentor has'):
        MODELS.build(dict(type='OpenVocabularyTTA', module=Segmentor()))


def test_no_limit() -> None:
    """-1, as mmdet has it."""
    views = [view(None, 5, 0), view('horizontal', 4, 1)]
    found = []
    for limit in (-1, 9, 2):
        cfg = dict(CFG, max_per_img=limit)
        model = MODELS.build(dict(type='OpenVocabularyTTA', module=Detector(), tta_cfg=cfg))
        found.append(model.merge_preds([copy.deepcopy(views)])[0].pred_instances)
    assert torch.equal(found[0].scores, found[1].scores) and len(found[0]) > len(found[2]) == 2


def test_partial_objects_of_another_view_are_dropped() -> None:
    """As in a test of one view."""
    views = [view(None, 40, 0), view('horizontal', 40, 1)]
    cfg = dict(CFG, max_per_img=-1)
    model = MODELS.build(dict(type='OpenVocabularyTTA', module=Detector(), tta_cfg=cfg))
    every = model.merge_preds([copy.deepcopy(views)])[0].pred_instances
    detector = Detector()
    detector.test_cfg = ConfigDict(rcnn=dict(partial=dict(overlap=0.3)))
    model = MODELS.build(dict(type='OpenVocabularyTTA', module=detector, tta_cfg=cfg))
    found = model.merge_preds([views])[0].pred_instances
    whole = ~partial_objects(every.bboxes, every.scores, every.labels, 0.3)
    assert 0 < whole.sum() < len(every)
    for key in ('bboxes', 'scores', 'labels', 'masks', 'novel'):
        assert torch.equal(found[key], every[key][whole]), key
    kept = zip(every.label_names, whole.tolist(), strict=True)
    assert found.label_names == [name for name, keep in kept if keep]


def test_nothing_found() -> None:
    model = MODELS.build(dict(type='OpenVocabularyTTA', module=Detector(), tta_cfg=CFG))
    (sample,) = model.merge_preds([[view(None, 0, 0), view('horizontal', 0, 1)]])
    assert len(sample.pred_instances) == 0 and sample.pred_instances.label_names == []
