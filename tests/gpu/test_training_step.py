"""A training step of every variant, on a GPU that is not there."""

import copy
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from authors_network import CATEGORIES, CFG_OPTIONS, EMBED_DIMS, model_config
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from pretend_gpu import PretendGPU

from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl

#: Two an image for NMS, and one for the labels.
DETECTION = 5
#: Of the classifier and of the loss, what the configs leave out.
OPTIONS = dict(
    roi_head=dict(
        bbox_head=dict(cls_predictor_cfg=dict(learned_temperature=True, synonyms='max')),
        distill_loss=dict(reduce='global'),
    )
)
#: EZSD's head and what else it changes; the weights of its regions are an image's own.
SEMANTIC = dict(
    roi_head=dict(
        bbox_head=dict(
            type='SemanticBBoxHead',
            cls_predictor_cfg=dict(mask_novel='drop', normalize_background=False),
        ),
        distill_loss=dict(normalize_weights='image'),
    )
)
#: Additions of later papers: a sigmoid of each word, and OLN's RPN and IoU.
PLUS = dict(
    rpn_head=dict(type='OLNRPNHead', loss_cls=dict(_delete_=True, type='LocalisationQualityLoss')),
    roi_head=dict(
        bbox_head=dict(
            cls_predictor_cfg=dict(with_background=False, bias=-2.0, learned_temperature=True),
            loss_cls=dict(use_sigmoid=True),
            loss_iou=dict(type='LocalisationQualityLoss'),
        )
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(pos_iou_thr=0.3, neg_iou_thr=0.1),
            sampler=dict(pos_fraction=1.0, neg_pos_ub=0),
        )
    ),
)
#: What ViLD's head takes of GKC.
GKC = dict(
    roi_head=dict(
        bbox_head=dict(cls_predictor_cfg=dict(synonyms='random')),
        distill_loss=dict(_delete_=True, type='TextGuidedDistillLoss'),
    )
)
STEPS = [
    ('vild-text', None, {}),
    ('vild-image', None, {}),
    ('vild', None, {}),
    ('vild-ensemble', None, {}),
    ('vild', None, OPTIONS),
    ('vild', None, SEMANTIC),
    ('vild', None, PLUS),
    ('vild', None, GKC),
    ('vild', torch.bfloat16, {}),
    ('vild-ensemble', torch.float16, {}),
]


def step(model, batch, device, precision=nullcontext, wrapper='OptimWrapper'):
    """The losses, and the parameters after the step."""
    model, batch = copy.deepcopy(model).to(device).train(), copy.deepcopy(batch)
    optimizer = build_optim_wrapper(
        model,
        dict(
            type=wrapper,
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
            clip_grad=dict(max_norm=1.0),
        ),
    )
    torch.manual_seed(0)
    with precision():
        losses = model.train_step(batch, optimizer)
    assert all(p.device.type == device for p in model.parameters())
    losses = {name: value.detach().to('cpu') for name, value in losses.items()}
    return losses, {name: value.to('cpu') for name, value in model.state_dict().items()}


@pytest.mark.parametrize(('variant', 'amp', 'changes'), STEPS)
def test_training_step(small, training_batch, variant, amp, changes):
    """It computes what a CPU computes, whose convolutions of the bbox head have another layout, and
    none of our lines lets the host wait."""
    detector = small(variant)
    model, batch = detector.build(**changes), training_batch(detector)
    expected = step(model, batch, 'cpu', lambda: torch.autocast('cpu', amp, bool(amp)))
    with PretendGPU() as gpu:
        found = step(model, batch, 'cuda', lambda: torch.autocast('cuda', amp, bool(amp)))
    assert ('loss_distill' in found[0]) == (variant != 'vild-text')
    close = dict(rtol=0.02, atol=0.02) if amp else dict(rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found, expected, **close)
    assert gpu.waits and not gpu.ours()


def test_amp_of_the_train_tool(small, training_batch, monkeypatch):
    """``--amp``: MMEngine's wrapper scales the loss, and steps as far as without it."""
    monkeypatch.setattr('mmengine.runner.amp.get_device', lambda: 'cuda')
    detector = small('vild')
    model, batch = detector.build(), training_batch(detector)
    losses, parameters = step(model, batch, 'cpu')
    with PretendGPU() as gpu:
        found, moved = step(model, batch, 'cuda', wrapper='AmpOptimWrapper')
    assert not gpu.ours() and found.keys() == losses.keys()
    assert not torch.equal(found['loss'], losses['loss'])  # it was in half precision
    del found['acc'], losses['acc']  # in which a RoI more is 5 %
    torch.testing.assert_close(found, losses, rtol=0.05, atol=0.02)
    key = 'roi_head.bbox_head.fc_cls.projection.weight'
    assert (parameters[key] - model.state_dict()[key]).abs().max() > 1e-4
    torch.testing.assert_close(moved[key], parameters[key], rtol=0.05, atol=1e-3)


def test_the_authors_network(tmp_path, training_batch):
    """Its step and its test, in which TensorFlow's NMS waits as ours does."""
    text = TextEmbeddings(
        np.random.default_rng(0).normal(size=(CATEGORIES, EMBED_DIMS)),
        tuple('abcde'),
        np.arange(CATEGORIES) > 2,
        'teacher@0',
    )
    text.save(str(tmp_path / 'text.npz'))
    config = Config(dict(model=model_config()))
    config.merge_from_dict(
        CFG_OPTIONS
        | {
            'model.data_preprocessor.pad_size_divisor': 64,
            'model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings': f'{tmp_path}/text.npz',
            'model.train_cfg.rpn_proposal.max_per_img': 50,
            'model.train_cfg.rcnn.sampler.num': 16,
            'model.test_cfg.rpn.max_per_img': 10,
        }
    )
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(config.model))
    batch = training_batch(SimpleNamespace(text=text))
    expected = step(model, batch, 'cpu')
    tested = copy.deepcopy(model).eval().test_step(copy.deepcopy(batch))
    with PretendGPU() as gpu:
        found = step(model, batch, 'cuda')
        assert not gpu.ours()
        on_gpu = copy.deepcopy(model).to('cuda').eval()
        gpu.waits.clear(), gpu.uploads.clear()
        samples = on_gpu.test_step(copy.deepcopy(batch))
        assert sum(gpu.ours().values()) <= DETECTION, gpu.ours()
        samples = [sample.pred_instances.cpu() for sample in samples]
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)
    for sample, other in zip(samples, tested, strict=True):
        assert len(sample) == len(other.pred_instances) > 0
        close = dict(rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sample.bboxes, other.pred_instances.bboxes, **close)
