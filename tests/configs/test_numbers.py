"""The numbers of every config are those that its name promises, and the docs list it."""

import functools
import re
from pathlib import Path

import pytest
import yaml
from config_files import GKC, NAMES, ONLY_TEST, OPEN_CLIP, ROOT, TUNING, read, train_set

#: Begin the names of what has no detector.
WITHOUT_DETECTOR = (*TUNING, 'ezsd/region-embeddings_clip', 'mini_lvis/region-embeddings_clip')


def at(path: str, **numbers) -> dict:
    """Numbers by their places in a config."""
    return {f'{path}.{name}': number for name, number in numbers.items()}


BN, SYNC_BN = (dict(type=kind, requires_grad=True) for kind in ('BN', 'SyncBN'))
#: SyncBN with TensorFlow's momentum of 0.997.
TF_NORM = SYNC_BN | dict(momentum=0.003, eps=1e-4)
L1, SMOOTH_L1 = dict(type='L1Loss', loss_weight=1), dict(type='SmoothL1Loss', loss_weight=1, beta=1)
SGD = dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=2.5e-5)
ADAM_W = dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
JITTER = dict(type='RandomResize', scale=(1024, 1024), ratio_range=(0.1, 2.0), keep_ratio=True)
#: DetPro's ViLD*: 20 epochs of 8 x 2 images, once a tenth of the learning rate, images of rare
#: categories repeated (1e-3 is the sampler's own), 4 convs and 1 FC, SyncBN in neck and convs; the
#: pretrained backbone keeps its norms' statistics, and nothing is frozen. And ViLD, w = 0.5.
DEFAULT = (
    at('model', type='ViLD', ensemble_weight=None, with_objectness=None)
    | at('model.backbone', depth=50, frozen_stages=-1, norm_eval=True, norm_cfg=BN)
    | at('model.backbone.init_cfg', type='Pretrained')
    | at('model.neck', norm_cfg=SYNC_BN, out_norm_cfg=None)
    | at('model.rpn_head', norm_cfg=None)
    | at('model.rpn_head.bbox_coder', type='DeltaXYWHBBoxCoder')
    | at('model.roi_head.mask_head', norm_cfg=None)
    | at('model.roi_head.distill_loss', loss_weight=0.5)
    | at('head', num_shared_convs=4, num_shared_fcs=1, conv_out_channels=256, loss_bbox=L1)
    | at('head', norm_cfg=SYNC_BN, fc_norm_cfg=None, ensemble_weight=None)
    | at('head.cls_predictor_cfg', temperature=0.01, with_background=None)
    | at('head.bbox_coder', type='DeltaXYWHBBoxCoder')
    | at('model.test_cfg.rpn', max_per_img=1000)
    | at('model.test_cfg.rcnn', score_thr=0, max_per_img=300)
    | at('model.test_cfg.rcnn', nms=dict(type='nms', iou_threshold=0.5))
    | at('optim_wrapper', optimizer=SGD, paramwise_cfg=None)
    | at('warm_up', start_factor=0.001, end=500)
    | at('decay', milestones=[16], gamma=0.1, end=20)
    | at('train_cfg', max_epochs=20, max_iters=None)
    | at('auto_scale_lr', base_batch_size=16)
    | at('train_dataloader', batch_size=2, sampler=dict(type='RepeatFactorSampler', shuffle=True))
    | at('train_dataloader.dataset', oversample_thr=None)
    | at('dataset', drop_novel=None)
    | at('train.RandomChoiceResize', scales=[(1333, short) for short in range(640, 801, 32)])
    | at('train', Resize=None, RandomResize=None, RandomCrop=None)
    | at('train.RandomFlip', prob=0.5)
    | at('train.CLIPCropEmbedding', max_proposals=None, min_visible=None)
    | at('train.PackViLDInputs', type='PackViLDInputs')
    | at('test.Resize', scale=(1333, 800))
    | at('test.TFResize', scale=None)
)
#: The paper's (Sec. 4.1 and Appendix): from scratch, weight decay for kernels only.
KERNELS = dict(custom_keys={'fc_cls.background': dict(decay_mult=0)})
KERNELS |= dict(norm_decay_mult=0, bias_decay_mult=0)
CROP = dict(type='RandomCrop', crop_type='absolute_range', crop_size=(1024, 1024))
PAPER = (
    at('model.backbone', norm_eval=False, norm_cfg=TF_NORM)
    | at('model.backbone.init_cfg', type=None)
    | at('model.neck', norm_cfg=TF_NORM)
    | at('model.roi_head.mask_head', norm_cfg=TF_NORM)
    | at('head', num_shared_fcs=2, norm_cfg=TF_NORM, fc_norm_cfg=TF_NORM, loss_bbox=SMOOTH_L1)
    | at('optim_wrapper', optimizer=SGD | dict(lr=0.32, weight_decay=4e-5), paramwise_cfg=KERNELS)
    | at('warm_up', start_factor=0.0032 / 0.32, end=1000)
    | at('decay', milestones=[180_000 * part / 1000 for part in (900, 950, 975)], end=180_000)
    | at('train_cfg', max_epochs=None, max_iters=180_000)
    | at('auto_scale_lr', base_batch_size=256)
    | at('train_dataloader', batch_size=8, sampler=dict(type='InfiniteSampler', shuffle=True))
    | at('train.RandomChoiceResize', scales=None)
    | at('train', RandomResize=JITTER)
    | at('train', RandomCrop=CROP | dict(recompute_bbox=True, allow_negative_crop=True))
    | at('train.CLIPCropEmbedding', min_visible=0)
    | at('test.Resize', scale=(1024, 1024))
)
#: The authors' own network also has norms in the RPN.
AUTHORS = (
    at('model.neck', norm_cfg=None, out_norm_cfg=TF_NORM)
    | at('model.rpn_head', norm_cfg=TF_NORM)
    | at('model.rpn_head.bbox_coder', type='TFDeltaXYWHBBoxCoder')
    | at('head.bbox_coder', type='TFDeltaXYWHBBoxCoder')
    | at('model.test_cfg.rcnn', nms=dict(type='tf_nms', iou_threshold=0.5))
    | at('train', RandomResize=JITTER | dict(resize_type='TFResize'))
    | at('test.Resize', scale=None)
    | at('test.TFResize', scale=(1024, 1024))
)
#: mmdet's 1x, on whose images no category is rare.
ON_COCO = (
    at('optim_wrapper', optimizer=SGD | dict(weight_decay=1e-4))
    | at('decay', milestones=[8, 11], end=12)
    | at('train_cfg', max_epochs=12)
    | at('train_dataloader', sampler=dict(type='DefaultSampler', shuffle=True))
    | at('train.RandomChoiceResize', scales=None)
    | at('train', Resize=dict(type='Resize', scale=(1333, 800), keep_ratio=True))
    | at('model.test_cfg.rcnn', max_per_img=100)
)
SWIN = dict.fromkeys(['absolute_pos_embed', 'relative_position_bias_table', 'norm'])
SWIN = dict(custom_keys={key: dict(decay_mult=0) for key in SWIN})
CONVNEXT = dict(decay_rate=0.95, decay_type='layer_wise', num_layers=6)
OTHER = at('model.backbone', depth=None, frozen_stages=None, norm_eval=None, norm_cfg=None)
OTHER |= at('warm_up', end=1000)


def w(value: float | None) -> dict:
    return at('model.roi_head.distill_loss', loss_weight=value)


#: Embeddings of 768 numbers, in place of 512: a sum over them is sqrt(768 / 512) as large.
WIDE = w(pytest.approx(0.5 / (768 / 512) ** 0.5))
#: k of the text-guided loss.
UNDECAYED = dict(custom_keys={'distill_loss.scale': dict(decay_mult=0)})
NO_REGIONS = w(None) | at('train', CLIPCropEmbedding=None, PackViLDInputs=None)
NO_REGIONS |= at('train.CLIPCropEmbedding', min_visible=None) | at(
    'train.PackViLDInputs', type=None
)
CROPS = NO_REGIONS | at('model', type='CLIPOnCrops', with_objectness=True)
REGIONS = NO_REGIONS | at('model', type='RegionEmbeddingExtractor')
#: ViLD+: OLN's anchors (Kim et al. 2022: IoU 0.3 and more, no negatives), LP-OVOD's sigmoid with
#: SigLIP's bias, an ensemble.
OLN = at('model.rpn_head', type='OLNRPNHead', quality=None)
OLN |= at('model.rpn_head', loss_cls=dict(type='LocalisationQualityLoss'))
OLN |= at('model.train_cfg.rpn.assigner', pos_iou_thr=0.3, neg_iou_thr=0.1, min_pos_iou=0.3)
OLN |= at('model.train_cfg.rpn.sampler', num=256, pos_fraction=1, neg_pos_ub=0)
PLUS = OLN | at('head.cls_predictor_cfg', with_background=False, bias=-10, learned_temperature=True)
PLUS |= at('head', loss_iou=dict(type='LocalisationQualityLoss'), ensemble_weight=2 / 3)
PLUS |= at('head.loss_cls', type='CrossEntropyLoss', use_sigmoid=True)
NO_PLUS = at('head.cls_predictor_cfg', with_background=None, bias=None, learned_temperature=None)
NO_PLUS |= at('head', loss_iou=None, ensemble_weight=None)
NO_PLUS |= at('head.loss_cls', type='CrossEntropyLoss', use_sigmoid=False)
#: F-VLM's alpha and beta.
F_VLM = at('model', type='TeacherScoredViLD', best=300, base_weight=0.35, novel_weight=0.65)
#: A learned classifier; MMDetection's bbox head has no norms after its FCs, and 256 channels.
MASK_RCNN = NO_REGIONS | at('model', type='MaskRCNN')
MASK_RCNN |= at('head', fc_norm_cfg=None, conv_out_channels=None)
MASK_RCNN |= at('head.cls_predictor_cfg', temperature=None)
#: Part of a config's name -> its numbers, which those of a later part replace. They are the
#: paper's, DetPro's and the authors', not read off the configs.
NUMBERS = {
    'lsj-180k': PAPER,
    '_tf_': AUTHORS,
    'ov-coco': ON_COCO,
    'swin-t': OTHER | at('optim_wrapper', optimizer=ADAM_W, paramwise_cfg=SWIN),
    'convnext-t': OTHER | at('optim_wrapper', optimizer=ADAM_W, paramwise_cfg=CONVNEXT),
    'vild-text': NO_REGIONS,
    'vild-image': at('head.cls_predictor_cfg', with_background=False),
    'ensemble': at('head', ensemble_weight=2 / 3),
    'vild_r152': at('model.backbone', depth=152) | w(1),
    'vild-ensemble_r152': at('model.backbone', depth=152) | w(2),
    'vild_r50_fpn_vit-l-14': WIDE,
    'vild_r50_fpn_siglip': WIDE | at('head.cls_predictor_cfg', temperature=1 / 117),
    'squared-l2': w(10),
    'text-guided': w(10) | at('optim_wrapper', paramwise_cfg=UNDECAYED),
    'region': REGIONS | at('model.test_cfg.rpn', max_per_img=300),
    'clip-on-crops': CROPS,
    'no-objectness': at('model', with_objectness=False),
    'vild-text-clip': at(
        'model', type='ViLDTextCLIP', with_objectness=False, ensemble_weight=2 / 3
    ),
    'vild-plus': PLUS,
    'vild-plus-text': NO_REGIONS | NO_PLUS,
    'vild-plus-teacher': F_VLM,
    'vild-plus-teacher_r50_fpn_1x_ov-coco': at('model', best=100),
    'mask-rcnn': MASK_RCNN,
    'sample1e-3': at('dataset', drop_novel=False),
    'sample1e-3_syncbn': at('train_dataloader.dataset', oversample_thr=1e-3),
    'transfer/': at('model.test_cfg.rcnn', max_per_img=100),
}


#: It shares mmdet's own network, and trains nothing; it has a test of its own, of its detector.
STOCK = 'vild/clip-on-crops_coco-proposals.py'


NUMBERED = [n for n in NAMES if 'mini' not in n and 'ezsd/' not in n and n != STOCK]


@pytest.mark.parametrize('name', NUMBERED)
def test_numbers(name):
    """Those of its name."""
    config, expected = read(name), dict(DEFAULT)
    for part, values in NUMBERS.items():
        if part in name:
            expected |= values
    places = config.to_dict()
    places['warm_up'], places['decay'] = places['param_scheduler']
    places['head'] = places['model']['roi_head']['bbox_head']
    places['dataset'] = train_set(places)
    places['train'] = {step['type']: step for step in places['dataset']['pipeline']}
    pipeline = places['test_dataloader']['dataset']['pipeline']
    places['test'] = {step['type']: step for step in pipeline}
    found = {path: functools.reduce(inner, path.split('.'), places) for path in expected}
    assert found == expected
    assert pipeline == places['test_pipeline']


def inner(place: dict | None, key: str):
    return None if place is None else place.get(key)


@pytest.mark.parametrize('name', [n for n in NAMES if not n.startswith(WITHOUT_DETECTOR)])
def test_what_every_config_has(name):
    """Hooks, and a mirror image for ``--tta``, otherwise as it is tested."""
    config = read(name)
    assert config.default_hooks.finite_loss == dict(type='FiniteLossHook')
    assert config.default_hooks.work_dir_config == dict(type='WorkDirConfigHook')
    assert dict(type='VocabularyCheckHook') in config.custom_hooks
    assert config.tta_model == dict(type='OpenVocabularyTTA')
    if name == STOCK:
        return
    load, *keep, views = config.tta_pipeline
    resize, flips, _, (packing,) = views.transforms
    if 'teacher' in name:  # which looks at the original image
        assert keep == [dict(type='KeepOriginalImage')] and 'ori_img' in packing.meta_keys
    else:
        assert not keep
    tested = [step for step in config.test_pipeline if step.type != 'KeepOriginalImage']
    assert [load, *resize] == tested[:2] and [flip.prob for flip in flips] == [0, 1]
    assert {'flip', 'flip_direction', 'text', 'custom_entities'} < set(packing.meta_keys)


@pytest.mark.parametrize(
    'name', [n for n in NAMES if not any(part in n for part in ('mini', 'mask_rcnn', 'ezsd/'))]
)
def test_a_config_has_the_teacher_of_its_name(name):
    """Words, regions and the model itself, wherever it names them; ViT-B/32 goes without saying."""
    expected = next((teacher for teacher in OPEN_CLIP if teacher in name), 'vit-b-32')
    config = read(name)
    model = (config.model.teacher.model_name, config.model.teacher.pretrained)
    assert model == OPEN_CLIP[expected]
    if 'region' not in name:  # a word that is asked for must reach the model
        packing = config.test_dataloader.dataset.pipeline[-1]
        assert {'text', 'custom_entities'} <= set(packing.meta_keys)
    if name == STOCK:
        return
    words = config.model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings
    if 'region' in name:
        assert config.test_evaluator.path.endswith(f'/regions_{expected}')
        return
    # Those of the authors' network come with the weights.
    assert words.endswith('_authors.npz' if 'vild_official/' in name else f'_{expected}.npz')
    steps = {step.type: step for step in config.train_dataloader.dataset.pipeline}
    if config.model.roi_head.distill_loss is not None:
        assert steps['CLIPCropEmbedding'].store.path.endswith(f'/regions_{expected}')


def test_docs_list_every_config():
    """Once each, but for those of the mini world and ``_base_``."""
    page = (ROOT / 'docs' / 'configs.md').read_text()
    named = re.findall(r'`(?:configs/\w+/)?([\w-]+\.py)`', page)
    expected = [Path(name).name for name in (*NAMES, *GKC) if not name.startswith('mini_lvis/')]
    assert {name for name in expected if named.count(name) != 1} == set()
    assert set(named) <= set(expected)


def test_metafiles_list_every_config_that_trains():
    """In mmdet's format; what only tests makes no model."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    found = {}
    for name in index['Import']:
        content = yaml.safe_load((ROOT / name).read_text())
        (collection,) = (c['Name'] for c in content['Collections'])
        for model in content['Models']:
            assert model['In Collection'] == collection
            assert model['Name'] == Path(model['Config']).stem
            found[model['Config']] = model['Metadata']
    only_test = (*ONLY_TEST, 'mini_lvis/', 'vild/region', 'ezsd/region')
    trained = [name for name in (*NAMES, *GKC) if not name.startswith(only_test)]
    assert set(found) == {f'configs/{name}' for name in trained}
    for name, metadata in found.items():
        loop = read(name.removeprefix('configs/')).train_cfg
        length = {'Epochs': 'max_epochs', 'Iterations': 'max_iters'}
        ((key, value),) = ((k, v) for k, v in metadata.items() if k in length)
        assert loop[length[key]] == value
        assert ('COCO' in metadata['Training Data']) == ('coco' in name)
