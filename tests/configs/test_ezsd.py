"""The numbers of EZSD's configs, and that each part that is switched off changes nothing else."""

import pytest
from config_files import NAMES, flat, read

DETECTORS = [name for name in NAMES if name.startswith('ezsd/ezsd')]
DATA = {'ov-coco': 'data/coco', 'lvis-v1': 'data/lvis_v1'}
HEAD = 'model.roi_head.bbox_head'
STORE = 'train_dataloader.dataset.pipeline.4.store.path'


def changes(name: str, parent: str) -> dict:
    """What a config has otherwise than another; variables that only build it aside."""
    both = [flat(read(f'ezsd/{each}').to_dict()) for each in (name, parent)]
    aside = ('train_pipeline', 'test_pipeline', 'val_dataloader', 'val_evaluator', 'tta_pipeline')
    keys = [k for k in both[0].keys() | both[1].keys() if not k.startswith(aside)]
    return {k: both[0].get(k) for k in keys if both[0].get(k) != both[1].get(k)}


@pytest.mark.parametrize('name', DETECTORS)
def test_numbers(name):
    """Those of the authors' code, but for a learning rate that they have not released."""
    config, is_lvis = flat(read(name).to_dict()), 'lvis' in name
    epochs = 48 if '4x' in name else 12
    expected = {
        'model.backbone.frozen_stages': 1,
        'model.backbone.norm_eval': True,
        f'{HEAD}.num_shared_convs': 3,
        f'{HEAD}.num_cls_convs': 1,
        f'{HEAD}.num_cls_fcs': 2,
        f'{HEAD}.num_reg_convs': 1,
        f'{HEAD}.num_reg_fcs': 2,
        f'{HEAD}.num_classes': 1203 if is_lvis else 65,
        f'{HEAD}.loss_bbox.loss_weight': 2 if is_lvis else 1,
        'model.rpn_head.loss_bbox.loss_weight': 2 if is_lvis else 1,
        f'{HEAD}.cls_predictor_cfg.temperature': 0.01,
        f'{HEAD}.cls_predictor_cfg.learned_temperature': True,
        f'{HEAD}.cls_predictor_cfg.mask_novel': 'drop',
        'model.roi_head.distill_loss.loss_weight': 0.5 if is_lvis else 1,
        'model.test_cfg.rcnn.score_thr': 0,
        'model.test_cfg.rcnn.max_per_img': 300,
        'optim_wrapper.optimizer.type': 'SGD',
        'optim_wrapper.optimizer.lr': 0.02,
        'optim_wrapper.optimizer.momentum': 0.9,
        'optim_wrapper.optimizer.weight_decay': 1e-4,
        'optim_wrapper.clip_grad.max_norm': 10,
        'param_scheduler.0.end': 500,
        'param_scheduler.1.milestones': [8, 11] if epochs == 12 else [32, 44],
        'param_scheduler.1.end': epochs,
        'train_cfg.max_epochs': epochs,
        'auto_scale_lr.base_batch_size': 16,
        'train_dataloader.batch_size': 2,
        'train_dataloader.sampler.type': 'RepeatFactorSampler' if is_lvis else 'DefaultSampler',
        'train_dataloader.dataset.pipeline.4.max_proposals': 200,
        'train_dataloader.dataset.pipeline.4.order': 'random',
        'train_dataloader.dataset.pipeline.4.keep_annotated': True,
    }
    assert {key: config.get(key) for key in expected} == expected


@pytest.mark.parametrize('data', DATA)
def test_each_part_is_switched_off_alone(data):
    whole = f'ezsd_r50_fpn_1x_{data}.py'

    def of(part: str) -> dict:
        return changes(f'ezsd_r50_fpn_{part}_1x_{data}.py', whole)

    regions = f'{DATA[data]}/ezsd/regions_{{}}_vit-b-32'
    assert of('raw-clip') == {STORE: regions.format('clip-anchors_raw')}
    assert of('rpn') == {STORE: regions.format('rpn')}
    assert of('plain-box') == {f'{HEAD}.class_conditioned': False}
    extraction = f'region-embeddings_clip-anchors_{data}.py'
    raw = changes(extraction.replace('anchors', 'anchors_raw'), extraction)
    assert raw == {
        'model.teacher.pretrained': 'openai',
        'test_evaluator.path': regions.format('clip-anchors_raw'),
    }
    found = changes(f'ezsd_faster-rcnn_r50_fpn_1x_{data}.py', whole)
    masks = ('model.roi_head.mask', 'train_dataloader.dataset.pipeline.1.with_mask')
    tested = ('test_dataloader.dataset.pipeline.2.with_mask', 'test_evaluator.metric')
    assert all(key.startswith((*masks, *tested)) for key in found)
    assert read(f'ezsd/{whole}').train_dataloader.dataset.pipeline[4].store.path == regions.format(
        'clip-anchors'
    )


def test_other_rows_of_the_table():
    whole = 'ezsd_r50_fpn_1x_ov-coco.py'
    found = changes('ezsd_r50_fpn_unweighted_1x_ov-coco.py', whole)
    assert found == {'model.roi_head.distill_loss.normalize_weights': 'ignore'}
    found = changes('ezsd_r50_fpn_rpn-rescored_1x_ov-coco.py', whole)
    assert found == {STORE: 'data/coco/ezsd/regions_rpn-rescored_vit-b-32'}
    vild = '../vild/vild_r50_fpn_1x_ov-coco.py'
    found = changes('vild_r50_fpn_semantic-box_1x_ov-coco.py', vild)
    assert found == {f'{HEAD}.type': 'SemanticBBoxHead'}


@pytest.mark.parametrize('data', DATA)
def test_names_that_choose_regions(data):
    """On LVIS never a rare one."""
    names = [n for n in NAMES if n.startswith('ezsd/region') and data in n]
    proposers = [p for n in names for p in read(n).model.proposers]
    chosen = [p for p in proposers if p.type == 'CLIPAnchorProposer']
    assert len(chosen) == (3 if data == 'ov-coco' else 2)
    for proposer in chosen:
        assert proposer.get('with_novel_names', False) == (data == 'ov-coco')
        assert proposer.get('drop_base', False) == (data == 'ov-coco')


def test_one_teacher_sees_crops_alike():
    """In its tuning and in every extraction, on both datasets; the tuned one in the same file."""
    expected = dict(crop_mode='pad_black', crop_scales=(1.2,), min_side=10)
    for name in NAMES:
        if not name.startswith(('ezsd/tune', 'ezsd/region')):
            continue
        teacher = read(name).model.teacher
        assert {key: teacher.get(key) for key in expected} == expected
        data = DATA['lvis-v1' if 'lvis' in name else 'ov-coco']
        raw = name.startswith('ezsd/tune') or 'raw' in name
        assert teacher.pretrained == ('openai' if raw else f'{data}/ezsd/vit-b-32_tuned.pt')


@pytest.mark.parametrize(
    ('name', 'epochs', 'weighted'), [('12e_ov-coco', 12, False), ('18e_lvis-v1', 18, True)]
)
def test_tuning(name, epochs, weighted):
    config = read(f'ezsd/tune-teacher_vit-b-32_{name}.py')
    assert config.train_cfg.max_epochs == epochs
    assert config.model.get('size_weighted', False) == weighted
    assert config.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4, weight_decay=1e-4)
    assert config.optim_wrapper.clip_grad.max_norm == 0.1
    assert config.auto_scale_lr.base_batch_size == 4 == 2 * config.train_dataloader.batch_size
    assert dict(type='VocabularyCheckHook') in config.custom_hooks
    kinds = [step.type for step in config.train_dataloader.dataset.pipeline]
    assert kinds == ['LoadImageFromFile', 'LoadAnnotations', 'RandomFlip', 'PackDetInputs']
