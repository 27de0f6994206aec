"""Every config, on a few pictures of its own: data, one training step, one prediction."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, METRICS, MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper

from mmdet_vild.datasets import EmbeddingRecord, EmbeddingStore
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob('[!_]*/*.py'))
#: Folder of the data -> its number of categories.
WORLDS = {'data/lvis_v1': 1203, 'data/mini_lvis': 38}
SIZE, SCALES = 96, [(96, 96), (128, 128)]


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
    root = tmp_path_factory.mktemp('worlds')
    built = OpenCLIPTeacher(**{k: v for k, v in teacher.items() if k != 'type'})
    for folder, count in WORLDS.items():
        make_world(root / folder, count, built)
    return root


def make_world(folder: Path, count: int, teacher: OpenCLIPTeacher) -> None:
    rng = np.random.default_rng(0)
    images, annotations = [], []
    (folder / 'train2017').mkdir(parents=True)
    regions = [
        EmbeddingStore.create(folder / 'vild' / name, teacher.crop_source, {})
        for name in ('regions', 'regions_vit-b-32')
    ]
    for image_id in (1, 2):
        name = f'train2017/{image_id:012d}.jpg'
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), pixels)
        images.append(
            dict(
                id=image_id,
                height=SIZE,
                width=SIZE,
                coco_url=f'http://images.cocodataset.org/{name}',
                neg_category_ids=[],
                not_exhaustive_category_ids=[],
            )
        )
        # Two objects of base categories and one of a novel category, the last one.
        for category_id, x in ((1, 4), (2, 34), (count, 54)):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=category_id,
                    bbox=[x, 10, 36, 60],
                    area=36 * 60,
                    segmentation=[[x, 10, x + 36, 10, x + 36, 70, x, 70]],
                )
            )
        boxes = np.array([[0, 0, 40, 40], [20, 20, 90, 60], [5, 50, 60, 95]], np.float32)
        embeddings = rng.normal(size=(3, teacher.embed_dims)).astype(np.float32)
        for shard in regions:
            record = EmbeddingRecord(boxes, np.ones(3, np.float32), embeddings)
            shard.write([(image_id, record, (SIZE, SIZE))])
    for shard in regions:
        shard.close()
    names = [f'category {i}' for i in range(count)]
    frequencies = ['f'] * (count - 3) + ['r'] * 3
    categories = [
        dict(id=i + 1, name=name, synonyms=[name], frequency=frequency)
        for i, (name, frequency) in enumerate(zip(names, frequencies, strict=True))
    ]
    (folder / 'annotations').mkdir()
    for split in ('train', 'val', 'test'):
        (folder / 'annotations' / f'lvis_v1_{split}.json').write_text(
            json.dumps(dict(images=images, annotations=annotations, categories=categories))
        )
    text = TextEmbeddings(
        rng.normal(size=(count, teacher.embed_dims)),
        tuple(names),
        np.array(frequencies) == 'r',
        teacher.identity,
    )
    for name in ('text', 'text_vit-b-32'):
        text.save(str(folder / 'vild' / f'{name}.npz'))


def adapted(node, root: Path):
    """A config with its data below ``root``, small images, and without pretrained weights."""
    if isinstance(node, dict):
        kind = node.get('type')
        if kind == 'Pretrained':
            return None
        small = {'Resize': dict(scale=(SIZE, SIZE)), 'RandomChoiceResize': dict(scales=SCALES)}
        return {k: adapted(v, root) for k, v in (node | small.get(kind, {})).items()}
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
            pytest.importorskip('mmpretrain', reason='mmpretrain, which has ConvNeXt, is missing')
        loaded = Config.fromfile(str(CONFIGS / name))
        cfg = Config(adapted(loaded.to_dict(), worlds))
        model = cfg.model
        if 'teacher' in model:
            model.teacher = teacher
        model.roi_head.bbox_head.fc_out_channels = 64
        model.train_cfg.rpn_proposal.max_per_img = 50
        model.train_cfg.rcnn.sampler.num = 16
        # 8 RoIs x 1203 categories: batched NMS goes through the categories from 10,000 boxes on.
        model.test_cfg.rpn.max_per_img = 8
        model.test_cfg.rcnn.max_per_img = 20
        return cfg

    return load


@pytest.mark.parametrize('name', NAMES)
def test_config(load, name):
    """Trains and predicts on what its own pipelines make of the pictures."""
    cfg = load(name)
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    train(model, cfg)
    predict(model, cfg)


def train(model, cfg: Config) -> None:
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert dataset.metainfo['novel_classes']
    assert len(dataset.metainfo['classes']) == num_classes(model)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {name: value.clone() for name, value in model.named_parameters()}
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), training=True)
    novel = set(range(num_classes(model) - 3, num_classes(model)))
    for sample in batch['data_samples']:
        assert len(sample.gt_instances) == 2 and not novel & set(
            sample.gt_instances.labels.tolist()
        )
    losses = model(**batch, mode='loss')
    has_distillation = getattr(model.roi_head, 'distill_loss', None) is not None
    assert ('loss_distill' in losses) == has_distillation
    total, parts = model.parse_losses(losses)
    assert all(torch.isfinite(value).all() for value in parts.values()), parts
    optim_wrapper.backward(total)
    for name, parameter in model.named_parameters():
        assert 'teacher' not in name and 'text_embeddings' not in name
        if parameter.requires_grad:
            assert parameter.grad is not None, f'{name} has no gradient'
            assert torch.isfinite(parameter.grad).all(), name
    optim_wrapper.step()
    assert any((before[n] != p).any() for n, p in model.named_parameters())


def predict(model, cfg: Config) -> None:
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    METRICS.build(cfg.test_evaluator)
    with torch.no_grad():
        results = model.eval().test_step(pseudo_collate([dataset[0], dataset[1]]))
    for result in results:
        found = result.pred_instances
        assert len(found) and torch.isfinite(found.scores).all()
        assert torch.isfinite(found.bboxes).all()
        if cfg.model.type == 'RegionEmbeddingExtractor':
            assert found.embeddings.shape == (len(found), model.teacher.embed_dims)
        else:
            assert found.masks.shape == (len(found), SIZE, SIZE)
            assert found.labels.min() >= 0 and found.labels.max() < num_classes(model)


def num_classes(model) -> int:
    return model.roi_head.bbox_head.num_classes


@pytest.mark.parametrize('backbone', ['swin-t', 'convnext-t'])
def test_backbone_swap_is_all_that_differs(load, backbone):
    """The model of another backbone is ViLD's, but for the backbone and the neck's input."""
    found = load(f'vild/vild_{backbone}_fpn_20e_lvis-v1.py').model
    expected = load('vild/vild_r50_fpn_20e_lvis-v1.py').model
    for part in set(found) | set(expected):
        if part == 'neck':
            assert dict(found.neck, in_channels=0) == dict(expected.neck, in_channels=0)
        elif part != 'backbone':
            assert found[part] == expected[part], part
