"""The pieces against the numbers of the authors' own implementation.

Over ``components_0.npz`` beside this file, computed by the TensorFlow code of
github.com/tensorflow/tpu (models/official/detection, projects/vild) with random weights and inputs,
and over every ``components_*.npz`` in the folder that ``VILD_PARITY_DIR`` names.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict

from mmdet_vild import config_path
from mmdet_vild.vocabulary import TextEmbeddings

register_all_modules()
FOLDERS = {Path(__file__).parent, Path(os.environ.get('VILD_PARITY_DIR', Path(__file__).parent))}
FILES = sorted(path for folder in FOLDERS for path in folder.glob('components_*.npz'))

pytestmark = pytest.mark.onedl


@pytest.fixture(params=FILES, ids=lambda path: f'{path.parent.name}/{path.stem}')
def parity(request) -> dict:
    with np.load(request.param) as data:
        return dict(data)


@pytest.fixture
def vocabulary(parity, tmp_path) -> str:
    words = parity['text_embeddings']
    novel = np.zeros(len(words), bool)
    novel[parity['novel_labels']] = True
    names = tuple(f'category {i}' for i in range(len(words)))
    path = str(tmp_path / 'text.npz')
    TextEmbeddings(words, names, novel, 'authors').save(path)
    return path


def assert_close(found: torch.Tensor, expected: np.ndarray) -> None:
    """Equal to 1e-5 of the largest value."""
    found = found.detach().numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def official(ensemble: bool = False) -> ConfigDict:
    """The RoI head of the config for the authors' weights."""
    method = 'vild-ensemble' if ensemble else 'vild'
    path = config_path(f'vild_official/{method}_r50_fpn_tf_32xb8-lsj-180k_lvis-v1.py')
    return Config.fromfile(path).model.roi_head


def build_head(parity: dict, vocabulary: str, ensemble: bool, prefix: str | None = None):
    """The authors' head without convs and with one FC, holding their weights."""
    categories, width = parity['text_embeddings'].shape
    features = parity['head_vanilla_train/roi_features']
    fc_out = parity['head_vanilla_train/weights/fc6/bias'].size
    cfg = official(ensemble).bbox_head
    cfg.update(
        num_classes=categories,
        num_shared_convs=0,
        num_shared_fcs=1,
        in_channels=features.shape[-1],
        roi_feat_size=features.shape[2],
        fc_out_channels=fc_out,
        fc_norm_cfg=None,
    )
    cfg.cls_predictor_cfg.update(
        text_embeddings=vocabulary, temperature=1 / float(parity['temperature'])
    )
    head = MODELS.build(cfg)
    if prefix is None:
        return head
    weights = {
        key.split('weights/')[1]: torch.from_numpy(value)
        for key, value in parity.items()
        if key.startswith(f'{prefix}/weights/')
    }

    def load(branch, fc: str, projection: str) -> None:
        h, w, c = features.shape[2:]
        # The authors flatten (H, W, C), mmdet (C, H, W).
        kernel = weights[f'{fc}/kernel'].view(h, w, c, fc_out).permute(3, 2, 0, 1).flatten(1)
        branch.shared_fcs[0][0].weight.data = kernel
        branch.shared_fcs[0][0].bias.data = weights[f'{fc}/bias']
        branch.fc_cls.projection.weight.data = weights[f'{projection}/kernel'].t()
        branch.fc_cls.projection.bias.data = weights[f'{projection}/bias']

    load(head, 'fc6', 'project-to-clip')
    head.fc_cls.background.data = weights['background-class-predict/kernel'][:, 0]
    xyxy = [1, 0, 3, 2]  # theirs predicts dy, dx, dh, dw
    head.fc_reg.weight.data = weights['box-predict/kernel'].t()[xyxy]
    head.fc_reg.bias.data = weights['box-predict/bias'][xyxy]
    if ensemble:
        load(head.image_branch, 'distill_fc6', 'distill-project-to-clip')
    return head


def background_first(logits: torch.Tensor) -> torch.Tensor:
    return torch.cat([logits[:, -1:], logits[:, :-1]], dim=1)


def xy(boxes: np.ndarray) -> torch.Tensor:
    """(n, 4) y, x, y, x to x, y, x, y."""
    return torch.from_numpy(boxes[:, [1, 0, 3, 2]])


@pytest.mark.parametrize('mode', ['vanilla', 'double_branch'])
@pytest.mark.parametrize('phase', ['train', 'test'])
def test_head(parity, vocabulary, mode, phase):
    prefix = f'head_{mode}_{phase}'
    ensemble = mode == 'double_branch'
    head = build_head(parity, vocabulary, ensemble, prefix)
    features = torch.from_numpy(parity[f'{prefix}/roi_features'])
    batch, rois = features.shape[:2]
    features = features.permute(0, 1, 4, 2, 3)
    if phase == 'train':
        distill = parity[f'{prefix}/distill_feat_outputs'].shape[1]
        sampled = features[:, : rois - distill].flatten(0, 1)
        rows = torch.cat([sampled, features[:, rois - distill :].flatten(0, 1)])
        logits, deltas, embeddings = head.forward_distill(rows, batch * distill)
        assert_close(embeddings.view(batch, distill, -1), parity[f'{prefix}/distill_feat_outputs'])
    else:
        logits, deltas = head(features.flatten(0, 1))
        if ensemble:
            logits, image_logits = logits.split([head.num_classes + 1, head.num_classes], 1)
            assert_close(
                image_logits.view(batch, rois, -1), parity[f'{prefix}/distill_class_outputs']
            )
    expected = parity[f'{prefix}/class_outputs']
    assert_close(background_first(logits).view(expected.shape), expected)
    expected = parity[f'{prefix}/box_outputs']
    dx, dy, dw, dh = deltas.unbind(1)
    assert_close(torch.stack([dy, dx, dh, dw], 1).view(expected.shape), expected)


def test_cls_loss(parity, vocabulary):
    """Through the mask of novel categories and mmdet's loss."""
    head = build_head(parity, vocabulary, ensemble=False)
    logits = torch.from_numpy(parity['cls_loss/logits']).flatten(0, 1)
    logits = torch.cat([logits[:, 1:], logits[:, :1]], dim=1)
    targets = torch.from_numpy(parity['cls_loss/targets']).flatten().long()
    labels = torch.where(targets == 0, head.num_classes, targets - 1)
    losses = head.loss(
        logits,
        torch.zeros(len(logits), 4),
        torch.zeros(len(logits), 5),
        labels,
        torch.ones(len(logits)),
        torch.zeros(len(logits), 4),
        torch.zeros(len(logits), 4),
    )
    assert_close(losses['loss_cls'], parity['cls_loss/loss'])


def test_distill_loss(parity):
    loss = MODELS.build(dict(official().distill_loss, loss_weight=1.0))
    student, teacher, boxes = (
        torch.from_numpy(parity[f'distill_loss/{key}']).flatten(0, 1)
        for key in ('student', 'teacher', 'roi_boxes')
    )
    valid = (boxes > 0).any(dim=1)
    expected = parity['distill_loss/loss_weight1']
    assert_close(loss(student, teacher, valid), expected)
    assert_close(loss(student[valid], teacher[valid]), expected)


@pytest.mark.parametrize('mode', ['vanilla', 'double_branch'])
def test_detections(parity, vocabulary, mode):
    ensemble = mode == 'double_branch'
    head = build_head(parity, vocabulary, ensemble).eval()
    logits = torch.from_numpy(parity['detect/class_outputs'][0])
    logits = torch.cat([logits[:, 1:], logits[:, :1]], dim=1)
    if ensemble:
        image_logits = torch.from_numpy(parity['detect/distill_class_outputs'][0])
        logits = torch.cat([logits, image_logits], dim=1)
    boxes = xy(parity['detect/anchor_boxes_yxyx'][0])
    deltas = xy(parity['detect/box_deltas_dydxdhdw'][0])
    count = int(parity[f'detect_{mode}/num_detections'][0])
    (result,) = head.predict_by_feat(
        [torch.cat([torch.zeros(len(boxes), 1), boxes], dim=1)],
        [logits],
        [deltas],
        [dict(img_shape=tuple(parity['detect/image_hw'].tolist()))],
        ConfigDict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=30),
    )
    assert len(result) == count
    np.testing.assert_array_equal(
        result.labels.numpy() + 1, parity[f'detect_{mode}/detection_classes'][0, :count]
    )
    assert_close(result.scores, parity[f'detect_{mode}/detection_scores'][0, :count])
    expected = xy(parity[f'detect_{mode}/detection_boxes'][0, :count])
    assert_close(result.bboxes, expected.numpy())
