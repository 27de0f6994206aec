"""That each row meets its own target: which region, which image, which of several."""

import copy

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from small_models import SIZE, TEACHER, WIDTH

pytestmark = pytest.mark.onedl

COUNTS = (5, 3)


@pytest.fixture(params=['image', 'vild', 'ensemble'])
def head(request, roi_head_cfg):
    """In test mode, in which batch norm computes each row by itself."""
    torch.manual_seed(0)
    head = MODELS.build(ConfigDict(roi_head_cfg(request.param)))
    head.init_weights()
    for norm in head.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.running_mean.normal_(std=0.1)
    return head.eval()


@pytest.fixture
def batch(make_sample):
    """Feature maps, proposals and samples of two images."""
    torch.manual_seed(1)
    features = tuple(torch.randn(2, 8, SIZE // stride, SIZE // stride) for stride in (4, 8))
    start = torch.rand(2, 20, 2) * SIZE * 0.6
    proposals = [InstanceData(bboxes=boxes) for boxes in torch.cat([start, start + 20], dim=2)]
    return features, proposals, [make_sample(3, count) for count in COUNTS]


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
    without = MODELS.build(ConfigDict(roi_head_cfg('text'))).eval()
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
