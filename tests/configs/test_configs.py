"""Every config, on a few pictures of its own: data, one training step, one prediction."""

import functools
import json
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmdet.datasets import CocoDataset, Objects365V1Dataset, VOCDataset
from mmdet.registry import DATASETS, METRICS, MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper

from mmdet_vild.datasets import OVCocoDataset
from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob('[!_]*/*.py'))
#: Those of each kind run on both families of packages, the others on one.
KINDS = ('mini_lvis/', 'transfer/', 'vild_r50_fpn_20e_', 'vild_r50_fpn_1x_', 'vild-text-clip_')
MARKED_NAMES = [
    pytest.param(name, marks=pytest.mark.onedl if any(kind in name for kind in KINDS) else ())
    for name in NAMES
]
SIZE, SCALES = 96, [(96, 96), (128, 128)]
TEACHERS = ('vit-b-32', 'vit-b-16', 'vit-l-14', 'siglip-b-16', 'authors')
#: In place of what would make images large, or objects small.
SMALL = {
    'Resize': dict(scale=(SIZE, SIZE)),
    'TFResize': dict(scale=(SIZE, SIZE)),
    'RandomChoiceResize': dict(scales=SCALES),
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


@functools.cache
def read(name: str) -> Config:
    """A config as it is; reading one takes a second."""
    return Config.fromfile(str(CONFIGS / name), import_custom_modules=False)


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
    make_lvis(root / 'data/lvis_v1', 1203, built, TEACHERS)
    make_lvis(root / 'data/mini_lvis', 294, built, [''])
    make_coco(root / 'data/coco', built)
    make_objects365(root / 'data/Objects365/Obj365_v1', built)
    make_voc(root / 'data/VOCdevkit', built)
    return root


def make_lvis(folder: Path, count: int, teacher: OpenCLIPTeacher, teachers: Sequence[str]) -> None:
    """Two objects of base categories and one of a novel category, the last one, in each picture."""
    categories = [
        dict(id=i, name=f'category {i}', synonyms=['any'], frequency='r' if i > count - 3 else 'f')
        for i in range(1, count + 1)
    ]
    files = [f'train2017/{image:012d}.jpg' for image in (1, 2)]
    splits = [f'lvis_v1_{split}' for split in ('train', 'val', 'test')]
    make_annotations(folder, splits, files, categories, [1, 2, count])
    make_pictures(folder, files)
    names = [category['name'] for category in categories]
    for name in teachers:
        suffix = f'_{name}' if name else ''
        make_words(folder / f'vild/text{suffix}.npz', names, names[-3:], teacher)
        make_regions(folder / f'vild/regions{suffix}', teacher)


def make_coco(folder: Path, teacher: OpenCLIPTeacher) -> None:
    """A person, a car, an airplane, which is novel, and a traffic light, which is neither."""
    names = CocoDataset.METAINFO['classes']
    categories = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
    shown = [names.index(name) + 1 for name in ('person', 'car', 'airplane', 'traffic light')]
    files = [f'{image:012d}.jpg' for image in (1, 2)]
    for split in ('train2017', 'val2017'):
        make_annotations(folder, [f'instances_{split}'], files, categories, shown)
        make_pictures(folder / split, files)
    metainfo = OVCocoDataset.METAINFO
    words = folder / 'vild/text_vit-b-32.npz'
    make_words(words, metainfo['classes'], metainfo['novel_classes'], teacher)
    make_words(folder / 'vild/text-80_vit-b-32.npz', names, [], teacher)
    make_regions(folder / 'vild/regions_vit-b-32', teacher)


def make_objects365(folder: Path, teacher: OpenCLIPTeacher) -> None:
    names = Objects365V1Dataset.METAINFO['classes']
    categories = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
    files = [f'{image}.jpg' for image in (1, 2)]
    make_annotations(folder, ['objects365_val'], files, categories, [1, 2])
    make_pictures(folder / 'val', files)
    make_words(folder / 'vild/text_vit-b-32.npz', names, [], teacher)


def make_voc(folder: Path, teacher: OpenCLIPTeacher) -> None:
    """VOC 2007's folders: a list of pictures, and an XML file for each."""
    names = VOCDataset.METAINFO['classes']
    for part in ('ImageSets/Main', 'Annotations'):
        (folder / 'VOC2007' / part).mkdir(parents=True)
    (folder / 'VOC2007/ImageSets/Main/test.txt').write_text('1\n2\n')
    for image in (1, 2):
        (folder / f'VOC2007/Annotations/{image}.xml').write_text(
            f'<annotation><size><width>{SIZE}</width><height>{SIZE}</height></size><object>'
            '<name>cat</name><difficult>0</difficult><bndbox><xmin>5</xmin><ymin>11</ymin>'
            '<xmax>40</xmax><ymax>70</ymax></bndbox></object></annotation>'
        )
    make_pictures(folder / 'VOC2007/JPEGImages', ['1.jpg', '2.jpg'])
    make_words(folder / 'vild/text_vit-b-32.npz', names, [], teacher)


def make_annotations(folder, splits, files, categories, shown) -> None:
    """An annotation file that is LVIS's and COCO's; objects of ``shown`` in every picture."""
    images, annotations = [], []
    for image_id, name in enumerate(files, 1):
        images.append(
            dict(
                id=image_id,
                height=SIZE,
                width=SIZE,
                file_name=name,
                coco_url=f'http://images.cocodataset.org/{name}',
                neg_category_ids=[],
                not_exhaustive_category_ids=[],
            )
        )
        for category_id, x in zip(shown, (4, 34, 54, 14), strict=False):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=category_id,
                    bbox=[x, 10, 36, 60],
                    area=36 * 60,
                    iscrowd=0,
                    segmentation=[[x, 10, x + 36, 10, x + 36, 70, x, 70]],
                )
            )
    (folder / 'annotations').mkdir(parents=True, exist_ok=True)
    content = json.dumps(dict(images=images, annotations=annotations, categories=categories))
    for split in splits:
        (folder / 'annotations' / f'{split}.json').write_text(content)


def make_pictures(folder: Path, files: Sequence[str]) -> None:
    rng = np.random.default_rng(0)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))


def make_words(path: Path, names, novel, teacher: OpenCLIPTeacher) -> None:
    embeddings = np.random.default_rng(1).normal(size=(len(names), teacher.embed_dims))
    TextEmbeddings(embeddings, tuple(names), np.isin(names, list(novel)), teacher.identity).save(
        str(path)
    )


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
            pytest.importorskip(
                'mmpretrain.models', reason='mmpretrain, which has ConvNeXt, is missing'
            )
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


@pytest.mark.parametrize('name', MARKED_NAMES)
def test_config(load, name):
    """Predicts and trains on what its own pipelines make of the pictures."""
    cfg = load(name)
    torch.manual_seed(0)
    np.random.seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))  # SyncBN needs a GPU
    model.init_weights()
    check_trainable(model, name)
    predict(model, cfg)  # first, since a step without warm-up may do anything
    if not name.startswith(('transfer/', 'vild/clip', 'vild/vild-text-clip')):  # which only test
        train(model.train(), cfg)


def check_trainable(model, name: str) -> None:
    """Everything learns, but for the teacher, the words, and the first stages of a pretrained
    ResNet."""
    found = {key for key, value in model.named_parameters() if not value.requires_grad}
    pretrained = 'r50' in name and 'lsj-180k' not in name
    stages = ('backbone.conv1.', 'backbone.bn1.', 'backbone.layer1.') if pretrained else ()
    assert found == {key for key, _ in model.named_parameters() if key.startswith(stages)}
    learned = {key for key, _ in model.named_parameters()}
    assert not any('teacher' in key or 'text_embeddings' in key for key in learned)
    head = 'roi_head.bbox_head.'
    assert (f'{head}fc_cls.background' in learned) == (
        'vild-image' not in name and ('vild' in name or 'clip' in name or 'region' in name)
    )
    assert (f'{head}image_branch.fc_cls.projection.weight' in learned) == ('ensemble' in name)
    norms = [m for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(norm.weight.requires_grad for norm in norms) == (not pretrained)


def train(model, cfg: Config) -> None:
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    classes = dataset.metainfo['classes']
    novel = {classes.index(name) for name in dataset.metainfo['novel_classes']}
    assert novel and len(classes) == num_classes(model)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {name: value.clone() for name, value in model.named_parameters()}
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), training=True)
    supervised = cfg.train_dataloader.dataset.type == 'ClassBalancedDataset'
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
    with torch.no_grad():
        results = model.eval().test_step(pseudo_collate([dataset[0], dataset[1]]))
    if cfg.model.type != 'RegionEmbeddingExtractor':
        evaluator = Evaluator(METRICS.build(cfg.test_evaluator))
        evaluator.dataset_meta = dataset.metainfo
        evaluator.process(results)
        figures = evaluator.evaluate(len(dataset))
        assert FIGURE[cfg.test_evaluator.type] in figures, figures
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


#: Part of a config's name -> open_clip's name and weights.
OPEN_CLIP = {
    'vit-b-32': ('ViT-B-32-quickgelu', 'openai'),
    'vit-b-16': ('ViT-B-16-quickgelu', 'openai'),
    'vit-l-14': ('ViT-L-14-quickgelu', 'openai'),
    'siglip-b-16': ('ViT-B-16-SigLIP', 'webli'),
}


@pytest.mark.parametrize('name', [n for n in NAMES if 'mini' not in n and 'mask_rcnn' not in n])
def test_a_config_has_the_teacher_of_its_name(name):
    """Words, regions and the model itself, wherever it names them; ViT-B/32 goes without saying."""
    expected = next((teacher for teacher in OPEN_CLIP if teacher in name), 'vit-b-32')
    config = read(name)
    words = config.model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings
    stores = [
        step.store.path
        for step in config.train_dataloader.dataset.pipeline
        if step.type == 'CLIPCropEmbedding'
    ]
    model = (config.model.teacher.model_name, config.model.teacher.pretrained)
    assert model == OPEN_CLIP[expected]
    if 'region' not in name:  # a word that is asked for must reach the model
        packing = config.test_dataloader.dataset.pipeline[-1]
        assert {'text', 'custom_entities'} <= set(packing.meta_keys)
    if name.startswith('vild_official/'):  # whose words come with the weights
        assert words.endswith('_authors.npz')
    elif 'region' in name:
        assert config.test_evaluator.path.endswith(f'/regions_{expected}')
    else:
        assert words.endswith(f'_{expected}.npz')
    if 'region' not in name:
        assert all(store.endswith(f'/regions_{expected}') for store in stores)
        assert len(stores) == (config.model.roi_head.distill_loss is not None)


#: The paper's schedule and images (ViLD, Sec. 4.1 and Appendix); what is trained from scratch.
PAPER = dict(
    optimizer=('SGD', 0.32, 0.9, 4e-5),
    decay_of=dict(norm=0, bias=0, background=0),
    warm_up=(0.0032 / 0.32, 1000),
    milestones=[round(180_000 * part) for part in (0.9, 0.95, 0.975)],
    length=180_000,
    batch=(8, 256),
    train_images=((1024, 1024), (0.1, 2.0), (1024, 1024)),
    test_images=(1024, 1024),
    min_visible=0,
    stages='none frozen',
)
#: 20 epochs, as DetPro trains its ViLD*, with mmdet's images for LVIS.
PRACTICAL = dict(
    optimizer=('SGD', 0.02, 0.9, 2.5e-5),
    decay_of={},
    warm_up=(0.001, 500),
    milestones=[16, 19],
    length=20,
    batch=(2, 16),
    train_images=([(1333, short) for short in range(640, 801, 32)],),
    test_images=(1333, 800),
    min_visible=0.5,
    stages='pretrained',
)
#: mmdet's 1x on COCO.
ON_COCO = PRACTICAL | dict(
    optimizer=('SGD', 0.02, 0.9, 1e-4),
    milestones=[8, 11],
    length=12,
    train_images=((1333, 800),),
    detections=100,
)
TRANSFORMER = PRACTICAL | dict(optimizer=('AdamW', 1e-4, None, 0.05), warm_up=(0.001, 1000))
SWIN = TRANSFORMER | dict(depth=None, norms={}, stages='other', decay_of=dict(norm=0))
CONVNEXT = SWIN | dict(decay_of={})
#: SyncBN with TensorFlow's momentum of 0.997, wherever MMDetection's network can have it; and the
#: authors' own network, which also has it in the RPN.
SYNC = ('SyncBN', 0.003, 1e-4)
SYNCED = dict.fromkeys(['backbone', 'neck', 'convs', 'fcs', 'mask'], SYNC)
SYNC_BN = PAPER | dict(norms=SYNCED)
TF = PAPER | dict(norms=SYNCED | dict(rpn=SYNC), boxes='TFDeltaXYWHBBoxCoder', nms='tf_nms')
#: All else, where a method or a network does not say otherwise. ViLD: w = 0.5.
DEFAULT = dict(
    model='ViLD',
    depth=50,
    norms=dict(backbone='fixed'),
    head=(4, 2, 256),
    boxes='DeltaXYWHBBoxCoder',
    temperature=0.01,
    background=True,
    w=0.5,
    ensemble=None,
    objectness=None,
    flip=0.5,
    repeats=None,
    novel_is_trained=False,
    proposals=1000,
    score_thr=0,
    nms='nms',
    iou=0.5,
    detections=300,
)
VILD = {}
TEXT = dict(w=None, min_visible=None)
IMAGE = dict(background=False)
ENSEMBLE = dict(ensemble=2 / 3)
REGIONS = TEXT | dict(model='RegionEmbeddingExtractor', proposals=300)
CROPS = TEXT | dict(model='CLIPOnCrops', objectness=True)
CROPS_ALONE = CROPS | dict(objectness=False)
TEXT_CLIP = CROPS_ALONE | dict(model='ViLDTextCLIP', ensemble=2 / 3)
MASK_RCNN = TEXT | dict(model='MaskRCNN', temperature=None, background=None)
WITH_NOVEL = MASK_RCNN | dict(repeats=1e-3, novel_is_trained=True)
NO_FC_NORMS = dict(norms={part: norm for part, norm in SYNCED.items() if part != 'fcs'})
R152, R152_ENSEMBLE = dict(depth=152, w=1), dict(depth=152, w=2) | ENSEMBLE
TRANSFER = dict(detections=100)
LSJ = '32xb8-lsj-180k_lvis-v1'
#: Config -> its numbers. They are the paper's and its authors', not read off the configs.
NUMBERS = {
    'mask_rcnn/mask-rcnn_r50_fpn_20e_lvis-v1-base': PRACTICAL | MASK_RCNN,
    'mask_rcnn/mask-rcnn_r50_fpn_sample1e-3_20e_lvis-v1': PRACTICAL | WITH_NOVEL,
    f'mask_rcnn/mask-rcnn_r50_fpn_syncbn-all_{LSJ}-base': SYNC_BN | MASK_RCNN | NO_FC_NORMS,
    f'mask_rcnn/mask-rcnn_r50_fpn_sample1e-3_syncbn-all_{LSJ}': SYNC_BN | WITH_NOVEL | NO_FC_NORMS,
    'transfer/vild_r50_fpn_20e_lvis-v1_coco': PRACTICAL | TRANSFER,
    'transfer/vild_r50_fpn_20e_lvis-v1_objects365v1': PRACTICAL | TRANSFER,
    'transfer/vild_r50_fpn_20e_lvis-v1_voc07': PRACTICAL | TRANSFER,
    f'transfer/vild_r50_fpn_tf_{LSJ}_coco': TF | TRANSFER,
    f'transfer/vild_r50_fpn_tf_{LSJ}_objects365v1': TF | TRANSFER,
    f'transfer/vild_r50_fpn_tf_{LSJ}_voc07': TF | TRANSFER,
    'vild/clip-on-crops_r50_fpn_lvis-v1': PRACTICAL | CROPS,
    'vild/clip-on-crops_r50_fpn_no-objectness_lvis-v1': PRACTICAL | CROPS_ALONE,
    f'vild/clip-on-crops_r50_fpn_no-objectness_syncbn-all_{LSJ}': SYNC_BN | CROPS_ALONE,
    f'vild/clip-on-crops_r50_fpn_syncbn-all_{LSJ}': SYNC_BN | CROPS,
    'vild/region-embeddings_r50_fpn_lvis-v1': PRACTICAL | REGIONS,
    'vild/region-embeddings_r50_fpn_ov-coco': ON_COCO | REGIONS,
    'vild/region-embeddings_r50_fpn_siglip-b-16_lvis-v1': PRACTICAL | REGIONS,
    'vild/region-embeddings_r50_fpn_vit-b-16_lvis-v1': PRACTICAL | REGIONS,
    'vild/region-embeddings_r50_fpn_vit-l-14_lvis-v1': PRACTICAL | REGIONS,
    f'vild/vild-ensemble_r152_fpn_syncbn-all_{LSJ}': SYNC_BN | R152_ENSEMBLE,
    'vild/vild-ensemble_r50_fpn_1x_ov-coco': ON_COCO | ENSEMBLE,
    'vild/vild-ensemble_r50_fpn_20e_lvis-v1': PRACTICAL | ENSEMBLE,
    f'vild/vild-ensemble_r50_fpn_syncbn-all_{LSJ}': SYNC_BN | ENSEMBLE,
    'vild/vild-image_r50_fpn_20e_lvis-v1': PRACTICAL | IMAGE,
    f'vild/vild-image_r50_fpn_syncbn-all_{LSJ}': SYNC_BN | IMAGE,
    'vild/vild-text-clip_r50_fpn_lvis-v1': PRACTICAL | TEXT_CLIP,
    f'vild/vild-text-clip_r50_fpn_syncbn-all_{LSJ}': SYNC_BN | TEXT_CLIP,
    'vild/vild-text_r50_fpn_1x_ov-coco': ON_COCO | TEXT,
    'vild/vild-text_r50_fpn_20e_lvis-v1': PRACTICAL | TEXT,
    f'vild/vild-text_r50_fpn_syncbn-all_{LSJ}': SYNC_BN | TEXT,
    'vild/vild_convnext-t_fpn_20e_lvis-v1': CONVNEXT,
    f'vild/vild_r152_fpn_syncbn-all_{LSJ}': SYNC_BN | R152,
    'vild/vild_r50_fpn_1x_ov-coco': ON_COCO | VILD,
    'vild/vild_r50_fpn_20e_lvis-v1': PRACTICAL | VILD,
    'vild/vild_r50_fpn_siglip-b-16_20e_lvis-v1': PRACTICAL | VILD,
    f'vild/vild_r50_fpn_syncbn-all_{LSJ}': SYNC_BN | VILD,
    'vild/vild_r50_fpn_vit-b-16_20e_lvis-v1': PRACTICAL | VILD,
    'vild/vild_r50_fpn_vit-l-14_20e_lvis-v1': PRACTICAL | VILD,
    'vild/vild_swin-t_fpn_20e_lvis-v1': SWIN,
    f'vild_official/vild-ensemble_r152_fpn_tf_{LSJ}': TF | R152_ENSEMBLE,
    f'vild_official/vild-ensemble_r50_fpn_tf_{LSJ}': TF | ENSEMBLE,
    f'vild_official/vild_r152_fpn_tf_{LSJ}': TF | R152,
    f'vild_official/vild_r50_fpn_tf_{LSJ}': TF | VILD,
}


def test_every_config_has_its_numbers():
    assert sorted(f'{name}.py' for name in NUMBERS) == [n for n in NAMES if 'mini' not in n]


@pytest.mark.parametrize('name', NUMBERS)
def test_numbers(name):
    config = read(f'{name}.py')
    expected = DEFAULT | NUMBERS[name]
    assert numbers(config) == expected
    tf = ('TF' if expected['nms'] == 'tf_nms' else '') + 'Resize'
    steps = {step.type: step for step in train_set(config)[0].pipeline}
    assert steps.get('RandomResize', {}).get('resize_type', tf) == tf
    assert tf in [step.type for step in config.test_dataloader.dataset.pipeline]


def train_set(config: Config) -> tuple:
    """The dataset, and the threshold of repeat factor sampling if there is any."""
    dataset = config.train_dataloader.dataset
    repeats = dataset.get('oversample_thr')
    return (dataset if repeats is None else dataset.dataset), repeats


def numbers(config: Config) -> dict:
    """What defines a config."""
    model, optim = config.model, config.optim_wrapper
    head, rcnn = model.roi_head.bbox_head, model.test_cfg.rcnn
    dataset, repeats = train_set(config)
    steps = {step.type: step for step in dataset.pipeline}
    regions = steps.get('CLIPCropEmbedding')
    distill_loss = model.roi_head.get('distill_loss')
    words = head.get('cls_predictor_cfg', {})
    warm_up, decay = config.param_scheduler
    assert decay.gamma == 0.1 and decay.end == config.train_cfg.get('max_iters', decay.end)
    assert head.bbox_coder.type == model.rpn_head.bbox_coder.type
    assert steps.get('PackViLDInputs', distill_loss) == (distill_loss and steps['PackViLDInputs'])
    assert regions is None or regions.get('max_proposals', 300) == 300
    optimizer = optim.optimizer
    ensemble = model.get('ensemble_weight')
    if head.type == 'ViLDEnsembleBBoxHead':
        ensemble = head.ensemble_weight
    return dict(
        model=model.type,
        depth=model.backbone.get('depth'),
        stages=stages(model.backbone),
        norms=norms(model),
        head=(head.num_shared_convs, head.num_shared_fcs, head.get('conv_out_channels', 256)),
        boxes=head.bbox_coder.type,
        temperature=words.get('temperature'),
        background=words.get('with_background', True) if words else None,
        w=distill_loss and distill_loss.loss_weight,
        ensemble=ensemble,
        objectness=model.get('with_objectness'),
        optimizer=(
            *(optimizer.type, optimizer.lr, optimizer.get('momentum'), optimizer.weight_decay),
        ),
        decay_of=decay_of(optim.get('paramwise_cfg', {})),
        warm_up=(warm_up.start_factor, warm_up.end),
        milestones=decay.milestones,
        length=config.train_cfg.get('max_iters') or config.train_cfg.max_epochs,
        batch=(config.train_dataloader.batch_size, config.auto_scale_lr.base_batch_size),
        train_images=tuple(
            step[key]
            for step in dataset.pipeline
            for key in ('scale', 'scales', 'ratio_range', 'crop_size')
            if key in step
        ),
        test_images=next(s.scale for s in config.test_dataloader.dataset.pipeline if 'scale' in s),
        flip=steps['RandomFlip'].prob,
        min_visible=regions and regions.get('min_visible', 0.5),
        repeats=repeats,
        novel_is_trained=not dataset.get('drop_novel', True),
        proposals=model.test_cfg.rpn.max_per_img,
        score_thr=rcnn.score_thr,
        nms=rcnn.nms.type,
        iou=rcnn.nms.iou_threshold,
        detections=rcnn.max_per_img,
    )


def norms(model) -> dict:
    """Part -> its norms; 'fixed' are those that keep what pretraining has found."""
    parts = dict(
        backbone=model.backbone.get('norm_cfg'),
        neck=model.neck.get('out_norm_cfg') or model.neck.get('norm_cfg'),
        rpn=model.rpn_head.get('norm_cfg'),
        convs=model.roi_head.bbox_head.get('norm_cfg'),
        fcs=model.roi_head.bbox_head.get('fc_norm_cfg'),
        mask=model.roi_head.mask_head.get('norm_cfg'),
    )
    found = {key: (n.type, n.get('momentum'), n.get('eps')) for key, n in parts.items() if n}
    if model.backbone.get('norm_eval'):
        assert found['backbone'] == ('BN', None, None)
        found['backbone'] = 'fixed'
    return found


def stages(backbone) -> str:
    if backbone.get('frozen_stages') == -1 and backbone.init_cfg is None:
        return 'none frozen'
    return 'pretrained' if backbone.get('frozen_stages') == 1 and backbone.init_cfg else 'other'


def decay_of(paramwise_cfg) -> dict:
    """Of which parameters the weight decay differs."""
    names = dict(norm='norm_decay_mult', bias='bias_decay_mult')
    found = {key: paramwise_cfg[name] for key, name in names.items() if name in paramwise_cfg}
    keys = dict(background='fc_cls.background', norm='norm')
    custom = paramwise_cfg.get('custom_keys', {})
    return found | {key: custom[name].decay_mult for key, name in keys.items() if name in custom}


def test_docs_list_every_config():
    """Once each, but for those of the mini world and ``_base_``."""
    page = (CONFIGS.parent / 'docs' / 'configs.md').read_text()
    named = re.findall(r'`(?:configs/\w+/)?([\w-]+\.py)`', page)
    expected = [Path(name).name for name in NAMES if not name.startswith('mini_lvis/')]
    assert {name for name in expected if named.count(name) != 1} == set()
    assert set(named) <= set(expected)


def test_metafiles_list_every_config_that_trains():
    """In mmdet's format; what only tests makes no model."""
    index = yaml.safe_load((CONFIGS.parent / 'model-index.yml').read_text())
    found = {}
    for name in index['Import']:
        content = yaml.safe_load((CONFIGS.parent / name).read_text())
        (collection,) = (c['Name'] for c in content['Collections'])
        for model in content['Models']:
            assert model['In Collection'] == collection
            assert model['Name'] == Path(model['Config']).stem
            found[model['Config']] = model['Metadata']
    only_test = ('mini_lvis/', 'transfer/', 'vild/region', 'vild/clip', 'vild/vild-text-clip')
    assert set(found) == {f'configs/{name}' for name in NAMES if not name.startswith(only_test)}
    for name, metadata in found.items():
        loop = read(name.removeprefix('configs/')).train_cfg
        length = {'Epochs': 'max_epochs', 'Iterations': 'max_iters'}
        ((key, value),) = ((k, v) for k, v in metadata.items() if k in length)
        assert loop[length[key]] == value
        assert ('COCO' in metadata['Training Data']) == ('coco' in name)
