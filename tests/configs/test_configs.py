"""Every config, on a few pictures of its own: data, one training step, one prediction."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from config_files import (
    NAMES,
    ONLY_TEST,
    OPEN_CLIP,
    SIZE,
    SMALL_IMAGES,
    TUNING,
    read,
    train_set,
)
from mmdet.datasets import CocoDataset, Objects365V1Dataset, VOCDataset
from mmdet.registry import DATASETS, METRICS, MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from picture_files import write_pictures

from mmdet_vild.datasets import OVCocoDataset
from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings

#: Those of each kind run on both families of packages, the others on one.
KINDS = ('mini_lvis/', 'transfer/', 'vild_r50_fpn_20e_', 'vild_r50_fpn_1x_', 'vild-text-clip_')
KINDS += ('ezsd_r50_fpn_1x_', 'anchors_ov-coco')
KINDS += ('vild-plus_r50_fpn_1x_', 'vild-plus-teacher_r50_fpn_1x_')
SMALL = SMALL_IMAGES | {'DetDataPreprocessor': dict(pad_size_divisor=32)}
#: What each metric reports.
FIGURE = {
    'LVISMetric': 'lvis/segm_APr',
    'FastLVISMetric': 'lvis/segm_APr',
    'OVCocoMetric': 'coco/novel_ap50',
    'CocoMetric': 'coco/bbox_mAP',
    'VOCMetric': 'pascal_voc/AP50',
}


@pytest.fixture(scope='module')
def teacher(tmp_path_factory) -> dict:
    """Config of the mini teacher, with random weights in a file."""
    torch.manual_seed(0)
    path = str(tmp_path_factory.mktemp('teacher') / 'teacher.pt')
    torch.save(OpenCLIPTeacher('mini-clip').model.state_dict(), path)
    return dict(type='OpenCLIPTeacher', model_name='mini-clip', pretrained=path)


@pytest.fixture(scope='module')
def worlds(tmp_path_factory, teacher) -> Path:
    """All that the configs expect below ``data/``: pictures, annotations, words, regions."""
    root = tmp_path_factory.mktemp('worlds') / 'data'
    built = OpenCLIPTeacher(**{k: v for k, v in teacher.items() if k != 'type'})
    for folder, count, suffixes in (
        ('lvis_v1', 1203, [f'_{name}' for name in (*OPEN_CLIP, 'authors')]),
        ('mini_lvis', 227, ['']),
    ):
        # Two objects of base categories and one of a novel category, the last one, in each picture.
        names = [f'category {i}' for i in range(1, count + 1)]
        rare = range(count - 2, count + 1)
        for split in ('train', 'val', 'test'):
            make_pictures(
                root / folder, f'lvis_v1_{split}', 'train2017/', names, [1, 2, count], rare
            )
        for suffix in suffixes:
            make_words(root / folder / f'vild/text{suffix}.npz', names, names[-3:], built)
            make_regions(root / folder / f'vild/regions{suffix}', built)
        make_regions(root / folder / f'vild/oln/regions{suffixes[0]}', built)
    # A person, a car, an airplane, which is novel, and a traffic light, which is neither.
    coco, names = root / 'coco', CocoDataset.METAINFO['classes']
    shown = [names.index(name) + 1 for name in ('person', 'car', 'airplane', 'traffic light')]
    for split in ('train2017', 'val2017'):
        make_pictures(coco, f'instances_{split}', f'{split}/', names, shown)
    split = OVCocoDataset.METAINFO
    make_words(coco / 'vild/text_vit-b-32.npz', split['classes'], split['novel_classes'], built)
    make_words(coco / 'vild/text-80_vit-b-32.npz', names, [], built)
    make_regions(coco / 'vild/regions_vit-b-32', built)
    for folder in ('coco', 'lvis_v1'):
        for regions in ('clip-anchors', 'clip-anchors_raw', 'rpn', 'rpn-rescored'):
            make_regions(root / folder / f'ezsd/regions_{regions}_vit-b-32', built)
    make_regions(root / 'mini_lvis/ezsd/regions_clip-anchors', built)
    make_regions(coco / 'vild/oln/regions_vit-b-32', built)
    folder, names = root / 'Objects365/Obj365_v1', Objects365V1Dataset.METAINFO['classes']
    make_pictures(folder, 'objects365_val', 'val/', names, [1, 2])
    make_words(folder / 'vild/text_vit-b-32.npz', names, [], built)
    # VOC 2007's folders: a list of pictures, and an XML file for each.
    voc = root / 'VOCdevkit'
    make_pictures(voc, 'unused', 'VOC2007/JPEGImages/', ['cat'], [1])
    for part in ('ImageSets/Main', 'Annotations'):
        (voc / 'VOC2007' / part).mkdir(parents=True)
    pictures = sorted(path.stem for path in voc.glob('VOC2007/JPEGImages/*'))
    (voc / 'VOC2007/ImageSets/Main/test.txt').write_text('\n'.join(pictures))
    for name in pictures:
        (voc / f'VOC2007/Annotations/{name}.xml').write_text(
            f'<annotation><size><width>{SIZE}</width><height>{SIZE}</height></size><object>'
            '<name>cat</name><difficult>0</difficult><bndbox><xmin>5</xmin><ymin>11</ymin>'
            '<xmax>40</xmax><ymax>70</ymax></bndbox></object></annotation>'
        )
    make_words(voc / 'vild/text_vit-b-32.npz', VOCDataset.METAINFO['classes'], [], built)
    return root.parent


def make_pictures(folder: Path, ann_file: str, prefix: str, names, shown: list[int], rare=()):
    """Two pictures with objects of ``shown``; ids of categories count from 1."""
    write_pictures(folder, ann_file, prefix, dict(enumerate(names, 1)), [shown] * 2, rare, SIZE)


def make_words(path: Path, names, novel: Sequence[str], teacher: OpenCLIPTeacher) -> None:
    embeddings = np.random.default_rng(1).normal(size=(len(names), teacher.embed_dims))
    is_novel = np.isin(names, list(novel))
    # A synonym each, of the same embedding.
    synonyms, rows = [[name] for name in names], embeddings.astype(np.float32)
    parts = (embeddings, tuple(names), is_novel, teacher.identity, synonyms, (), rows)
    TextEmbeddings(*parts).save(str(path))


def make_regions(path: Path, teacher: OpenCLIPTeacher) -> None:
    """The embeddings of three regions in pictures 1 and 2."""
    boxes = np.array([[0, 0, 40, 40], [20, 20, 90, 60], [5, 50, 60, 95]], np.float32)
    embeddings = np.random.default_rng(2).normal(size=(3, teacher.embed_dims))
    record = EmbeddingRecord(boxes, np.ones(3, np.float32), embeddings.astype(np.float32))
    shard = EmbeddingStore.create(path, teacher.crop_source, {})
    shard.write([(image_id, record, (SIZE, SIZE)) for image_id in (1, 2)])
    shard.close()


def adapted(node, root: Path):
    """A config with its data below ``root``, small images, and without pretrained weights."""
    if isinstance(node, dict):
        kind = node.get('type')
        if kind == 'Pretrained':
            return None
        return {k: adapted(v, root) for k, v in (node | SMALL.get(kind, {})).items()}
    if isinstance(node, list | tuple):
        return type(node)(adapted(value, root) for value in node)
    if isinstance(node, str) and node.startswith('data/'):
        return f'{root}/{node}'
    return node


@pytest.fixture
def load(worlds, teacher, monkeypatch):
    """Loads a config, with fewer RoIs and a narrower bbox head so that it is quick."""
    monkeypatch.delenv('MINI_LVIS', raising=False)
    register_all_modules()

    def load(name: str) -> Config:
        if 'convnext' in name:
            pytest.importorskip('mmpretrain.models', reason='mmpretrain has ConvNeXt')
        cfg = Config(adapted(read(name).to_dict(), worlds))
        model = cfg.model
        if 'teacher' in model:
            options = {k: v for k, v in model.teacher.items() if k.startswith(('crop', 'min_side'))}
            model.teacher = options | teacher
        if 'roi_head' not in model:
            return cfg
        model.roi_head.bbox_head.fc_out_channels = 64
        if name.startswith('ezsd/'):  # which are many
            model.backbone.base_channels = 16
            model.neck.in_channels = [64, 128, 256, 512]
        model.train_cfg.rpn_proposal.max_per_img = 50
        model.train_cfg.rcnn.sampler.num = 16
        # 8 RoIs x 1203 categories: batched NMS goes through the categories from 10,000 boxes on.
        model.test_cfg.rpn.max_per_img = 8
        model.test_cfg.rcnn.max_per_img = 20
        return cfg

    return load


def marked(name: str):
    both = any(kind in name for kind in KINDS)
    return pytest.param(name, marks=pytest.mark.onedl if both else ())


@pytest.mark.parametrize('name', [marked(n) for n in NAMES if not n.startswith(TUNING)])
def test_config(load, name):
    """Predicts and trains on what its own pipelines make of the pictures."""
    cfg = load(name)
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    if 'coco-proposals' not in name:  # whose detector is mmdet's, and stays as it is
        check_trainable(model, name, cfg.model.get('backbone', {}).get('frozen', ()))
    predict(model, cfg)  # first, since a step without warm-up may do anything
    looks = any(part in name for part in ('clip', 'region'))  # for which --tta is not
    if any(kind in name for kind in KINDS) and not looks:
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        predict(MODELS.build(dict(cfg.tta_model, module=model)), cfg)
    if not name.startswith(ONLY_TEST):
        train(model.train(), cfg)


@pytest.mark.parametrize('name', [n for n in NAMES if n.startswith(TUNING)])
@pytest.mark.onedl
def test_tuning(load, name):
    """Its norms learn to name base crops, and nothing else changes; the others are counted too."""
    cfg = load(name)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    data = pseudo_collate([dataset[0], dataset[1]])
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    first = model.train_step(data, optim_wrapper)
    second = model.train_step(data, optim_wrapper)
    assert second['loss_crops'] < first['loss_crops']
    norms = ('.bn', '.downsample.1.')
    for key, value in model.state_dict().items():
        affine = key.startswith('clip.visual.') and any(part in key for part in norms)
        affine &= key.endswith(('.weight', '.bias'))
        assert torch.equal(value, before[key]) != affine, key
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    evaluator = Evaluator(METRICS.build(cfg.val_evaluator))
    evaluator.dataset_meta = dataset.metainfo
    found = model.val_step(pseudo_collate([dataset[0], dataset[1]]))
    assert [len(sample.pred_instances) for sample in found] == [3, 3]  # the novel one, too
    evaluator.process(found)
    figures = evaluator.evaluate(2)
    assert set(figures) == {f'crops/{k}accuracy' for k in ('', 'base_', 'novel_')}


def check_trainable(model, name: str, frozen: Sequence[str]) -> None:
    """Everything learns, but for the teacher, the words and what is frozen of ImageNet's."""
    kept = tuple(f'backbone.model.{module}.' for module in frozen)
    if name.startswith('ezsd/ezsd'):
        kept = ('backbone.conv1', 'backbone.bn1', 'backbone.layer1')
    for key, value in model.named_parameters():
        assert value.requires_grad != key.startswith(kept), key
    if not hasattr(model, 'roi_head'):
        return
    learned = {key for key, _ in model.named_parameters()}
    assert not any('teacher' in key or 'text_embeddings' in key for key in learned)
    head = 'roi_head.bbox_head.'
    plus = 'vild-plus' in name and 'plus-text' not in name or 'vild-all' in name  # an ensemble
    mini_plus = 'mini_lvis/vild-plus' in name  # which has no sigmoid
    sigmoid = (plus and not mini_plus) or 'vild-sigmoid' in name
    assert (f'{head}fc_cls.background' in learned) == (
        'vild-image' not in name
        and not sigmoid
        and any(part in name for part in ('vild', 'clip', 'region', 'ezsd'))
    )
    assert ({f'{head}fc_cls.bias', f'{head}fc_cls.logit_scale'} <= learned) == sigmoid
    ensemble = 'ensemble' in name or plus
    assert (f'{head}image_branch.fc_cls.projection.weight' in learned) == ensemble


def train(model, cfg: Config) -> None:
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    classes = dataset.metainfo['classes']
    novel = {classes.index(name) for name in dataset.metainfo['novel_classes']}
    assert novel and len(classes) == model.roi_head.bbox_head.num_classes
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {name: value.clone() for name, value in model.named_parameters()}
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), training=True)
    supervised = not train_set(cfg).get('drop_novel', True)
    for sample in batch['data_samples']:
        labels = set(sample.gt_instances.labels.tolist())
        assert len(labels) == 2 + supervised and bool(novel & labels) == supervised
    losses = model(**batch, mode='loss')
    has_distillation = getattr(model.roi_head, 'distill_loss', None) is not None
    assert ('loss_distill' in losses) == has_distillation
    total, parts = model.parse_losses(losses)
    assert all(torch.isfinite(value).all() for value in parts.values()), parts
    optim_wrapper.backward(total)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f'{name} has no gradient'
            assert torch.isfinite(parameter.grad).all(), name
    optim_wrapper.step()
    assert any((before[n] != p).any() for n, p in model.named_parameters())


def predict(model, cfg: Config) -> None:
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    extracts = cfg.model.type.endswith('Extractor')
    masks = not extracts and cfg.model.roi_head.mask_head is not None
    if extracts:
        model.dataset_meta = dataset.metainfo
    with torch.no_grad():
        results = model.eval().test_step(pseudo_collate([dataset[0], dataset[1]]))
    if not extracts:
        evaluator = Evaluator(METRICS.build(cfg.test_evaluator))
        evaluator.dataset_meta = dataset.metainfo
        evaluator.process(results)
        figures = evaluator.evaluate(len(dataset))
        figure = FIGURE[cfg.test_evaluator.type]
        assert (figure if masks else figure.replace('segm', 'bbox')) in figures, figures
    for result in results:
        found = result.pred_instances
        assert len(found) and torch.isfinite(found.scores).all()
        assert torch.isfinite(found.bboxes).all()
        if extracts:
            assert found.embeddings.shape == (len(found), model.teacher.embed_dims)
        else:
            if masks:
                assert found.masks.shape == (len(found), SIZE, SIZE)
            assert found.labels.min() >= 0
            assert found.labels.max() < cfg.model.roi_head.bbox_head.num_classes
