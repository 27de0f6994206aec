"""Every config, on a few pictures of its own: data, one training step, one prediction."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from config_files import NAMES, ONLY_TEST, OPEN_CLIP, read, train_set
from mmdet.datasets import CocoDataset, Objects365V1Dataset, VOCDataset
from mmdet.registry import DATASETS, METRICS, MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper

from mmdet_vild.datasets import OVCocoDataset
from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings

#: Those of each kind run on both families of packages, the others on one.
KINDS = ('mini_lvis/', 'transfer/', 'vild_r50_fpn_20e_', 'vild_r50_fpn_1x_', 'vild-text-clip_')
SIZE = 96
#: In place of what would make images large, or objects small.
SMALL = {
    'Resize': dict(scale=(SIZE, SIZE)),
    'TFResize': dict(scale=(SIZE, SIZE)),
    'RandomChoiceResize': dict(scales=[(SIZE, SIZE), (128, 128)]),
    'RandomResize': dict(scale=(SIZE, SIZE), ratio_range=(1.0, 1.2)),
    'RandomCrop': dict(crop_size=(SIZE, SIZE)),
    'BatchFixedSizePad': dict(size=(SIZE, SIZE)),
    'DetDataPreprocessor': dict(pad_size_divisor=32),
}
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
        ('mini_lvis', 38, ['']),
    ):
        # Two objects of base categories and one of a novel category, the last one, in each picture.
        names = [f'category {i}' for i in range(1, count + 1)]
        for split in ('train', 'val', 'test'):
            make_pictures(root / folder, f'lvis_v1_{split}', 'train2017/', names, [1, 2, count])
        for suffix in suffixes:
            make_words(root / folder / f'vild/text{suffix}.npz', names, names[-3:], built)
            make_regions(root / folder / f'vild/regions{suffix}', built)
    # A person, a car, an airplane, which is novel, and a traffic light, which is neither.
    coco, names = root / 'coco', CocoDataset.METAINFO['classes']
    shown = [names.index(name) + 1 for name in ('person', 'car', 'airplane', 'traffic light')]
    for split in ('train2017', 'val2017'):
        make_pictures(coco, f'instances_{split}', f'{split}/', names, shown)
    split = OVCocoDataset.METAINFO
    make_words(coco / 'vild/text_vit-b-32.npz', split['classes'], split['novel_classes'], built)
    make_words(coco / 'vild/text-80_vit-b-32.npz', names, [], built)
    make_regions(coco / 'vild/regions_vit-b-32', built)
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


def make_pictures(folder: Path, ann_file: str, prefix: str, names, shown: list[int]) -> None:
    """Two pictures with objects of ``shown``, and a file of them that is LVIS's and COCO's."""
    (folder / prefix).mkdir(parents=True, exist_ok=True)
    (folder / 'annotations').mkdir(exist_ok=True)
    size, images, annotations = dict(height=SIZE, width=SIZE), [], []
    for i in (1, 2):
        url = f'http://images.cocodataset.org/{prefix}{i:012d}.jpg'
        lists = dict(neg_category_ids=[], not_exhaustive_category_ids=[])
        images.append(dict(id=i, file_name=f'{i:012d}.jpg', coco_url=url, **size, **lists))
        for kind, x in zip(shown, (4, 34, 54, 14), strict=False):
            polygon = [x, 10, x + 36, 10, x + 36, 70, x, 70]
            shape = dict(bbox=[x, 10, 36, 60], area=36 * 60, segmentation=[polygon], iscrowd=0)
            number = len(annotations) + 1
            annotations.append(dict(id=number, image_id=i, category_id=kind, **shape))
        pixels = np.random.default_rng(i).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / prefix / f'{i:012d}.jpg'), pixels)
    rare = len(names) - 2
    categories = [
        dict(id=i, name=name, synonyms=['any'], frequency='r' if i >= rare else 'f')
        for i, name in enumerate(names, 1)
    ]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / f'annotations/{ann_file}.json').write_text(json.dumps(content))


def make_words(path: Path, names, novel: Sequence[str], teacher: OpenCLIPTeacher) -> None:
    embeddings = np.random.default_rng(1).normal(size=(len(names), teacher.embed_dims))
    is_novel = np.isin(names, list(novel))
    TextEmbeddings(embeddings, tuple(names), is_novel, teacher.identity).save(str(path))


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
            model.teacher = teacher
        model.roi_head.bbox_head.fc_out_channels = 64
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


@pytest.mark.parametrize('name', map(marked, NAMES))
def test_config(load, name):
    """Predicts and trains on what its own pipelines make of the pictures."""
    cfg = load(name)
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    check_trainable(model, name)
    predict(model, cfg)  # first, since a step without warm-up may do anything
    if any(kind in name for kind in KINDS) and 'clip' not in name and 'region' not in name:
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        predict(MODELS.build(dict(cfg.tta_model, module=model)), cfg)
    if not name.startswith(ONLY_TEST):
        train(model.train(), cfg)


def check_trainable(model, name: str) -> None:
    """Everything learns, but for the teacher and the words."""
    assert all(value.requires_grad for value in model.parameters())
    learned = {key for key, _ in model.named_parameters()}
    assert not any('teacher' in key or 'text_embeddings' in key for key in learned)
    head = 'roi_head.bbox_head.'
    assert (f'{head}fc_cls.background' in learned) == (
        'vild-image' not in name and ('vild' in name or 'clip' in name or 'region' in name)
    )
    assert (f'{head}image_branch.fc_cls.projection.weight' in learned) == ('ensemble' in name)


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
        assert parameter.grad is not None, f'{name} has no gradient'
        assert torch.isfinite(parameter.grad).all(), name
    optim_wrapper.step()
    assert any((before[n] != p).any() for n, p in model.named_parameters())


def predict(model, cfg: Config) -> None:
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    with torch.no_grad():
        results = model.eval().test_step(pseudo_collate([dataset[0], dataset[1]]))
    extracts = cfg.model.type == 'RegionEmbeddingExtractor'
    if not extracts:
        evaluator = Evaluator(METRICS.build(cfg.test_evaluator))
        evaluator.dataset_meta = dataset.metainfo
        evaluator.process(results)
        figures = evaluator.evaluate(len(dataset))
        assert FIGURE[cfg.test_evaluator.type] in figures, figures
    for result in results:
        found = result.pred_instances
        assert len(found) and torch.isfinite(found.scores).all()
        assert torch.isfinite(found.bboxes).all()
        if extracts:
            assert found.embeddings.shape == (len(found), model.teacher.embed_dims)
        else:
            assert found.masks.shape == (len(found), SIZE, SIZE)
            assert found.labels.min() >= 0
            assert found.labels.max() < cfg.model.roi_head.bbox_head.num_classes
