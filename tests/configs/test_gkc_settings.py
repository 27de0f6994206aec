"""The numbers of GKC's configs: the authors', or Mask2Former's own where the name says so."""

import inspect

import pytest
from config_files import GKC, flat, read
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.optim import build_optim_wrapper
from torch import nn

import mmdet_vild.models  # noqa: F401 - registers its backbones and losses

TRAININGS = [n for n in GKC if n.startswith('gkc/gkc') and '_coco-panoptic_' not in n]
HEAD = 'model.panoptic_head'
COST = 'model.train_cfg.assigner.match_costs'
NUMBERS = {
    f'{HEAD}.num_queries': 100,
    f'{HEAD}.feat_channels': 256,
    f'{HEAD}.cls_predictor_cfg.temperature': 0.07,
    f'{HEAD}.cls_predictor_cfg.learned_temperature': True,
    f'{HEAD}.loss_cls.loss_weight': 2,
    f'{HEAD}.loss_mask.loss_weight': 5,
    f'{HEAD}.loss_dice.loss_weight': 5,
    f'{HEAD}.pixel_decoder.encoder.num_layers': 6,
    f'{HEAD}.transformer_decoder.num_layers': 9,
    'model.train_cfg.num_points': 12544,
    'model.train_cfg.oversample_ratio': 3,
    'model.train_cfg.importance_sample_ratio': 0.75,
    f'{COST}.0.weight': 2,
    f'{COST}.1.weight': 5,
    f'{COST}.2.weight': 5,
    'optim_wrapper.type': 'AmpOptimWrapper',
    'optim_wrapper.optimizer.type': 'AdamW',
    'optim_wrapper.optimizer.lr': 3e-4,
    'optim_wrapper.optimizer.weight_decay': 0.05,
    'optim_wrapper.clip_grad.max_norm': 0.01,
    'train_cfg.max_iters': 50000,
    'param_scheduler.0.milestones': [40000, 45000],
    'param_scheduler.0.gamma': 0.1,
    'train_dataloader.batch_size': 14,
    'auto_scale_lr.base_batch_size': 112,
}
#: Of the transforms of the training.
CROPS = {'RandomResize.scale': (512, 512), 'RandomResize.ratio_range': (0.8, 1.2),
         'RandomCrop.crop_size': (512, 512)}  # fmt: skip
#: What the part of a name changes.
PARTS = {
    '8xb2-lsj-50e': {
        'optim_wrapper.optimizer.lr': 1e-4,
        'train_cfg.max_iters': 368750,
        'param_scheduler.0.milestones': [327778, 355092],
        'train_dataloader.batch_size': 2,
        'auto_scale_lr.base_batch_size': 16,
    },
    'maskformer': {
        f'{HEAD}.loss_cls.loss_weight': 1,
        f'{HEAD}.pixel_decoder.encoder.num_layers': 6,
        f'{HEAD}.transformer_decoder.num_layers': 6,
        f'{HEAD}.loss_mask.loss_weight': 20,
        f'{HEAD}.loss_dice.loss_weight': 1,
        f'{COST}.0.weight': 1,
        f'{COST}.1.weight': 20,
        f'{COST}.2.weight': 1,
    },
}
#: The ablation's losses of synonyms and of distillation; the other configs have both.
LOSSES = {
    'plain': (None, None),
    'synonyms': ([10], None),
    'feature': (None, [10]),
    'text-guided': (None, [10, 10]),
}

register_all_modules()


@pytest.mark.parametrize('name', TRAININGS)
def test_numbers(name):
    config = read(name)
    found = flat(config.to_dict())
    expected, crops = dict(NUMBERS), dict(CROPS)
    for part, numbers in PARTS.items():
        if part in name:
            expected |= numbers
    if 'lsj' in name:
        crops |= {'RandomResize.scale': (1024, 1024), 'RandomCrop.crop_size': (1024, 1024),
                  'RandomResize.ratio_range': (0.1, 2.0)}  # fmt: skip
    assert {key: found.get(key) for key in expected} == expected
    steps = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    assert {key: steps[key.split('.')[0]][key.split('.')[1]] for key in crops} == crops
    tested = {step.type: step for step in config.test_dataloader.dataset.pipeline}
    assert tested['Resize'].scale == ((1333, 800) if 'lsj' in name else (2048, 512))
    head = config.model.panoptic_head
    kind = next((k for k in LOSSES if f'gkc-{k}' in name), None)
    weights = weights_of(head.get('synonym_loss')), weights_of(head.get('distill_loss'))
    assert weights == LOSSES.get(kind, ([10], [10, 10]))


def weights_of(loss: dict | None) -> list[float] | None:
    """What a loss weighs, and text-guided pairs beside it."""
    if loss is None:
        return None
    options = inspect.signature(MODELS.get(loss.type).__init__).parameters
    keys = ('loss_weight', 'text_weight')
    return [loss.get(key, options[key].default) for key in keys if key in options]


@pytest.mark.parametrize(
    ('name', 'changes', 'backbone_lr'),
    [
        ('gkc/gkc_r50-clip_8xb14-50k_coco-panoptic.py', {}, 3e-5),
        ('gkc/gkc_r50-clip_8xb14-50k_coco-panoptic.py', dict(arch='RN101'), 3e-5),
        ('gkc/gkc_r50-clip_8xb14-50k_coco-panoptic.py', dict(arch='RN50x4'), 3e-5),
        ('gkc/gkc_swin-t_8xb2-lsj-50e_coco-panoptic.py', {}, 1e-5),
        ('mini_lvis/gkc_lite0_mini-lvis.py', {}, 3e-4),
    ],
)
def test_what_is_not_decayed(name, changes, backbone_lr):
    """Norms, also those of the backbone, and embeddings; all else is, by 0.05."""
    config = read(name)
    config.model.backbone.pop('init_cfg', None)
    config.model.backbone.update(changes)
    backbone = MODELS.build(config.model.backbone)
    config.optim_wrapper.type = 'OptimWrapper'
    model = nn.ModuleDict(dict(backbone=backbone, neck=nn.LayerNorm(2), head=nn.Linear(2, 2)))
    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    groups = {id(p): group for group in optimizer.param_groups for p in group['params']}
    norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)
    decayed = 0
    for path, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            group = groups[id(parameter)]
            none = isinstance(module, norms) or 'position' in key
            assert group['weight_decay'] == (0 if none else 0.05), f'{path}.{key}'
            base = config.optim_wrapper.optimizer.lr
            rate = backbone_lr if path.startswith('backbone') else base
            assert group['lr'] == pytest.approx(rate), f'{path}.{key}'
            decayed += not none
    assert decayed > 10
