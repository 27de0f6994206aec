"""The weights of CLIP's ResNet, as the backbone loads them."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS

from mmdet_vild.teacher import OpenCLIPTeacher

TOOL = Path(__file__).parents[2] / 'tools' / 'model_converters' / 'clip_backbone.py'

pytestmark = pytest.mark.onedl


def test_backbone_of_a_checkpoint_is_the_teachers(tmp_path, monkeypatch):
    torch.manual_seed(0)
    teacher = OpenCLIPTeacher('mini-clip')
    torch.save(teacher.model.state_dict(), tmp_path / 'teacher.pt')
    out = tmp_path / 'weights' / 'backbone.pth'
    weights = str(tmp_path / 'teacher.pt')
    options = ['--model', 'mini-clip', '--pretrained', weights, '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *options])
    runpy.run_path(str(TOOL), run_name='__main__')
    visual = teacher.model.visual.float()
    layers = [len(getattr(visual, f'layer{i}')) for i in (1, 2, 3, 4)]
    init = dict(type='Pretrained', checkpoint=str(out))
    arch = (layers, visual.conv3.out_channels)
    backbone = MODELS.build(dict(type='CLIPResNet', arch=arch, init_cfg=init))
    backbone.init_weights()
    backbone.eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        x = visual.stem(images)
        for i, found in enumerate(backbone(images), 1):
            x = getattr(visual, f'layer{i}')(x)
            torch.testing.assert_close(found, x)
