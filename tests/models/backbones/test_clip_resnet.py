"""CLIP's ResNet against open_clip's own."""

import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet

from mmdet_vild.models import CLIPResNet


def test_is_open_clips():
    torch.manual_seed(0)
    theirs = ModifiedResNet((1, 2, 1, 1), 8, 4, image_size=64, width=8).eval()
    for value in theirs.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 0.6)
    ours = CLIPResNet(((1, 2, 1, 1), 8)).eval()
    weights = {k: v for k, v in theirs.state_dict().items() if not k.startswith('attnpool.')}
    ours.load_state_dict(weights)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps, x = ours(images), theirs.stem(images)
        for i, found in enumerate(maps, 1):
            x = getattr(theirs, f'layer{i}')(x)
            torch.testing.assert_close(found, x)
    assert [found.shape[1:] for found in maps] == [
        (32, 16, 24), (64, 8, 12), (128, 4, 6), (256, 2, 3)
    ]  # fmt: skip


def test_learns_everything_unless_it_is_frozen():
    model = CLIPResNet(((1, 1, 1, 1), 8)).train()
    assert all(value.requires_grad for value in model.parameters()) and model.bn1.training
    model = CLIPResNet(((1, 1, 1, 1), 8), frozen_stages=1).train()
    learned = {name.split('.')[0] for name, v in model.named_parameters() if v.requires_grad}
    assert learned == {'layer2', 'layer3', 'layer4'}
    assert not model.bn3.training and not model.layer1.training and model.layer2.training
    with pytest.raises(ValueError, match='must be one of'):
        CLIPResNet('RN18')
