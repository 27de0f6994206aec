"""The detector's class names are those of its vocabulary."""

import pytest
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from small_models import CATEGORIES, NOVEL

pytestmark = pytest.mark.onedl


@pytest.fixture
def build(roi_head_cfg):
    def make(**changes):
        roi_head = roi_head_cfg()
        rcnn = dict(train=roi_head.pop('train_cfg'), test=roi_head.pop('test_cfg'))
        cfg = dict(
            type='ViLD',
            backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(0, 1)),
            neck=dict(type='FPN', in_channels=[8, 16], out_channels=8, num_outs=2),
            roi_head=roi_head,
            train_cfg=dict(rcnn=rcnn['train']),
            test_cfg=dict(rcnn=rcnn['test']),
        )
        return MODELS.build(ConfigDict(cfg | changes))

    return make


def test_class_names(build):
    """Whatever a checkpoint says: it may have been trained with other words."""
    words = tuple(f'text {i}' for i in range(CATEGORIES))
    own = dict(classes=words, base_classes=words[:-NOVEL], novel_classes=words[-NOVEL:])
    detector = build()
    assert detector.dataset_meta == own
    detector.dataset_meta = {'classes': words, 'palette': [(1, 2, 3)] * CATEGORIES}
    assert detector.dataset_meta == own | {'palette': [(1, 2, 3)] * CATEGORIES}
    other = {'classes': ('cat', 'dog'), 'palette': [(1, 2, 3)] * 2, 'novel_classes': ('dog',)}
    detector.dataset_meta = other
    assert detector.dataset_meta == own
    detector.dataset_meta['palette'] = 'random'  # as init_detector does
    assert detector.dataset_meta['palette'] == 'random'


def test_refuses_another_roi_head(build, roi_head_cfg):
    with pytest.raises(TypeError, match='ViLD needs a CLIPTextClassifier'):
        build(roi_head=dict(type='StandardRoIHead'))
    stock = roi_head_cfg('text') | dict(type='StandardRoIHead')
    for key in ('distill_loss', 'train_cfg', 'test_cfg'):
        del stock[key]
    with pytest.raises(TypeError, match='must be a ViLDRoIHead, found StandardRoIHead'):
        build(roi_head=stock)
