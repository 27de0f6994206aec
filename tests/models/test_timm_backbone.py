"""A timm model as a backbone."""

import pytest
import timm
import torch
from mmdet.registry import MODELS

import mmdet_vild  # noqa: F401

pytestmark = pytest.mark.onedl
NAME = 'tf_efficientnet_lite0'


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp('timm') / 'weights.pth'
    model = timm.create_model(NAME)
    torch.save(model.state_dict(), path)
    return path


def build(weights, **options):
    init_cfg = dict(type='Pretrained', checkpoint=str(weights))
    backbone = MODELS.build(
        dict(type='TimmBackbone', model_name=NAME, init_cfg=init_cfg, **options)
    )
    backbone.init_weights()
    return backbone


def test_maps_are_timms(weights):
    """Of the whole model's own blocks, the strides as FPN expects them."""
    whole = timm.create_model(NAME).eval()
    whole.load_state_dict(torch.load(weights, weights_only=True))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = build(weights).eval()(images)
        x, expected = whole.bn1(whole.conv_stem(images)), []
        for block in whole.blocks:
            x = block(x)
            expected.append(x)
    assert [m.shape[1:] for m in found] == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    for one, place in zip(found, (1, 2, 4, 6), strict=True):
        torch.testing.assert_close(one, expected[place])


@pytest.mark.parametrize('frozen', [('conv_stem', 'bn1', 'blocks.0', 'blocks.3'), ('',)])
def test_what_is_frozen_stays_as_it_is(weights, frozen):
    backbone = build(weights, frozen=frozen).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    maps = backbone(torch.randn(2, 3, 64, 64))
    if frozen != ('',):
        sum(m.mean() for m in maps).backward()
    kept = tuple(f'model.{name}.' if name else 'model.' for name in frozen)
    for name, value in backbone.state_dict().items():
        if name.startswith(kept):
            assert torch.equal(before[name], value), name
        elif name.endswith('running_mean'):
            assert not torch.equal(before[name], value), name
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == name.startswith(kept), name


def test_another_one_learns(weights):
    backbone = build(weights).train()
    before = backbone.state_dict()['model.bn1.running_mean'].clone()
    sum(m.mean() for m in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in backbone.parameters())
    assert not torch.equal(before, backbone.state_dict()['model.bn1.running_mean'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(out_indices='2'),
            "out_indices of TimmBackbone must be a list of whole .*, found '2'",
        ),
        (dict(frozen='blocks'), "frozen of TimmBackbone must be a list of texts, found 'blocks'"),
        (dict(frozen=''), "frozen of TimmBackbone must be a list of texts, found ''"),
        (dict(model_name=5), 'model_name of TimmBackbone must be a text, found 5'),
    ],
)
def test_options_of_another_type_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='TimmBackbone', model_name=NAME) | options)


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="timm has no model named 'resnet17'"):
        MODELS.build(dict(type='TimmBackbone', model_name='resnet17'))
    with pytest.raises(ValueError, match="tf_efficientnet_lite0 has no module 'stem'; it has"):
        MODELS.build(dict(type='TimmBackbone', model_name=NAME, frozen=('stem',)))
