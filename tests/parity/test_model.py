"""The whole network against the authors' own implementation, stage by stage.

``VILD_PARITY_DIR`` names a folder with ``model_*.npz``; the tests run over every file in it. Each
is converted by the tool, and what it holds is compared with the model that the checkpoint's own
config describes.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from authors_network import load_converted, narrow, run_converter, write_categories
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi

from mmdet_vild import config_path

_FOLDER = os.environ.get('VILD_PARITY_DIR')
_FILES = sorted(Path(_FOLDER).glob('model_*.npz')) if _FOLDER else []

pytestmark = [pytest.mark.onedl, pytest.mark.parity]


class Case:
    """A file, the model converted from it, and what the model makes of the file's image."""

    def __init__(self, path: Path, folder: Path) -> None:
        with np.load(path) as data:
            self.data = dict(data)
        self.ensemble = any('distill_conv' in key for key in self.data)
        self.model = self.convert(path, folder)
        image = torch.from_numpy(self.data['image']).permute(0, 3, 1, 2)
        # Original and scaled (height, width), and the scale of both.
        original, scaled, scale, _ = self.data['image_info'][0]
        self.sample = DetDataSample(
            metainfo=dict(
                img_shape=tuple(map(int, scaled)),
                ori_shape=tuple(map(int, original)),
                scale_factor=tuple(scale[::-1].tolist()),
                batch_input_shape=image.shape[2:],
            )
        )
        with torch.no_grad():
            self.backbone = self.model.backbone(image)
            self.neck = self.model.neck(self.backbone)
            self.rpn = self.model.rpn_head(self.neck)
            (self.proposals,) = self.model.rpn_head.predict(self.neck, [self.sample], rescale=False)
            (self.found,) = self.model.roi_head.predict(
                self.neck, [self.proposals], [self.sample], rescale=False
            )

    def convert(self, path: Path, folder: Path) -> torch.nn.Module:
        data, count = self.data, len(self.data['text_embeddings'])
        novel = tuple(data['novel_labels'].tolist())
        categories = write_categories(folder / 'annotations.json', count, novel)
        method = 'vild-ensemble' if self.ensemble else 'vild'
        depth = 152 if any(key.startswith('var/resnet152') for key in data) else 50
        words = 'model.roi_head.bbox_head.cls_predictor_cfg'
        fc = data['var/frcnn_layer_0/fast_rcnn_head/fc6/bias:0'].size
        options = narrow(data['var/fpn/l2/bias:0'].size, fc, count) | {
            f'{words}.text_embeddings': folder / 'text.npz',
            f'{words}.temperature': 1 / float(data['temperature']),
            'model.test_cfg.rpn.nms_pre': 200,
            'model.test_cfg.rpn.max_per_img': data['stage/generate_rois_fn/0'].shape[1],
            'model.test_cfg.rcnn.max_per_img': data['outputs/detection_boxes'].shape[1],
        }
        config = config_path(
            f'vild_official/{method}_r{depth}_fpn_tf_32xb8-lsj-180k_lvis-v1.py',
        )
        run_converter(
            *('vild_tf_to_mmdet.py', path, config, folder / 'out.pth'),
            *('--categories', categories, '--cfg-options'),
            *(f'{key}={value}' for key, value in options.items()),
        )
        return load_converted(folder / 'out.pth')[0]

    def theirs(self, key: str) -> torch.Tensor:
        """Of the one image."""
        return torch.from_numpy(self.data[key])[0]

    def feature(self, key: str) -> torch.Tensor:
        """(c, h, w)."""
        return self.theirs(key).permute(2, 0, 1)


@pytest.fixture(scope='module', params=_FILES or [None], ids=lambda path: path.stem if path else '')
def case(request, tmp_path_factory) -> Case:
    if request.param is None:
        pytest.fail(f'VILD_PARITY_DIR is {_FOLDER}, which holds no model_*.npz')
    return Case(request.param, tmp_path_factory.mktemp('parity'))


def assert_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Equal to a share of the largest value."""
    assert found.shape == expected.shape
    limit = tolerance * expected.abs().max().item()
    torch.testing.assert_close(found.float(), expected.float(), rtol=0, atol=limit)


def test_features(case):
    for stage, outputs, last in (('backbone', case.backbone, 5), ('fpn', case.neck, 6)):
        for level, found in enumerate(outputs, 2):
            assert_close(found[0], case.feature(f'stage/{stage}_fn/{level}'), 1e-4)
        assert level == last


def test_proposals(case):
    for level, (scores, boxes) in enumerate(zip(*case.rpn, strict=True), 2):
        assert_close(scores[0], case.feature(f'stage/rpn_head_fn/0/{level}'), 1e-4)
        expected = case.feature(f'stage/rpn_head_fn/1/{level}').unflatten(0, (-1, 4))
        assert_close(boxes[0].unflatten(0, (-1, 4)), expected[:, [1, 0, 3, 2]], 1e-4)
    assert_close(case.proposals.scores, case.theirs('stage/generate_rois_fn/1'), 1e-3)
    expected = case.theirs('stage/generate_rois_fn/0')[:, [1, 0, 3, 2]]
    assert_close(case.proposals.bboxes, expected, 1e-4)


def test_class_and_box_outputs(case):
    """Of their proposals."""
    boxes = case.theirs('stage/generate_rois_fn/0')[:, [1, 0, 3, 2]]
    with torch.no_grad():
        results = case.model.roi_head._bbox_forward(case.neck, bbox2roi([boxes]))
    expected = [case.theirs('stage/frcnn_head_fn/0').roll(-1, 1)]  # theirs has background first
    if case.ensemble:
        expected.append(case.theirs('stage/frcnn_head_fn/3'))
    assert_close(results['cls_score'], torch.cat(expected, dim=1), 1e-3)
    expected = case.theirs('stage/frcnn_head_fn/1')[:, [1, 0, 3, 2]]
    assert_close(results['bbox_pred'], expected, 1e-3)


def test_detections(case):
    """The same ones in the same order, from the model's own proposals.

    Those of scores that differ by less than is rounded may change places.
    """
    count = int(case.data['outputs/num_detections'][0])
    assert len(case.found) == count > 0
    scores = case.theirs('outputs/detection_scores')[:count]
    assert_close(case.found.scores, scores, 1e-3)
    for i, j in enumerate(same_detections(case)):
        assert i == j or abs(scores[i] - scores[j]) < 1e-5


def same_detections(case) -> list[int]:
    """The row of ours that each of theirs is."""
    classes = case.theirs('outputs/detection_classes') - 1
    boxes = case.theirs('outputs/detection_boxes')[:, [1, 0, 3, 2]]
    left, rows = list(range(len(case.found))), []
    for i in range(len(left)):
        away = (case.found.bboxes[left] - boxes[i]).abs().amax(1) / boxes.abs().max()
        away[case.found.labels[left] != classes[i]] = torch.inf
        assert away.min() < 1e-4, f'nothing like detection {i}'
        rows.append(left.pop(int(away.argmin())))
    return rows


def test_masks(case):
    """28 x 28, of the model's own detections."""
    rois = bbox2roi([case.found.bboxes[same_detections(case)]])
    with torch.no_grad():
        logits = case.model.roi_head._mask_forward(case.neck, rois)['mask_preds'][:, 0]
    count = len(rois)
    assert_close(logits, case.theirs('stage/mrcnn_head_fn')[:count], 1e-3)
    assert_close(logits.sigmoid(), case.theirs('outputs/detection_masks')[:count], 1e-3)
