"""The configs of the mini world's segmentors: each trains for a step on pictures of its own."""

import copy

import numpy as np
import pytest
import torch
from config_files import GKC_MINI, read
from mmcv.transforms import Compose
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper

from mmdet_vild.embedding_store import EmbeddingRecord, EmbeddingStore
from mmdet_vild.vocabulary import TextEmbeddings

#: What only tests or extracts.
OTHERS = ('clip-on-masks', 'segment-embeddings')
TRAININGS = [name for name in GKC_MINI if not name.startswith(OTHERS)]
COUNT, WIDTH, SIZE, TEACHER = 235, 8, 64, 'mini-clip-lite0@0'
#: Way of the synonyms and kind of the distillation of each.
EXPECTED = {
    'gkc-plain': (None, None),
    'gkc-start': (None, None),
    'gkc-synonyms': ('random', None),
    'gkc-synonyms-max': ('max', None),
    'gkc-synonyms-mean': ('mean', None),
    'gkc-feature': (None, 'FeatureDistillLoss'),
    'gkc-text-guided': (None, 'TextGuidedDistillLoss'),
    'gkc': ('random', 'TextGuidedDistillLoss'),
}
BOXES = np.array([[0, 0, 30, 40], [30, 0, SIZE, SIZE]], np.float32)

register_all_modules()


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> str:
    """Words with two names each, and a store of the segments of picture 1."""
    folder = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2 * COUNT, WIDTH)).astype(np.float32)
    words = [[f'word {c}', f'other {c}'] for c in range(COUNT)]
    novel = np.arange(COUNT) == 7
    names = [each[0] for each in words]
    for kind, synonyms, row in (
        ('names', [[name] for name in names], rows[::2]),
        ('synonyms', words, rows),
    ):
        parts = (rows[::2], names, novel, TEACHER, synonyms, ['{}'], row)
        TextEmbeddings(*parts).save(str(folder / f'gkc/{kind}.npz'))
    source = dict(teacher=TEACHER, embed_dims=WIDTH)
    shard = EmbeddingStore.create(str(folder / 'gkc/segments'), source, {})
    embeddings = rng.normal(size=(len(BOXES), WIDTH)).astype(np.float32)
    record = EmbeddingRecord(BOXES, np.ones(len(BOXES)), embeddings)
    shard.write([(1, record, (SIZE, SIZE))])
    shard.close()
    return str(folder)


def load(name: str, data: str) -> Config:
    """A config with its data in ``data``, and without pretrained weights."""

    def adapted(node):
        if isinstance(node, dict):
            if node.get('type') == 'Pretrained':
                return None
            return {key: adapted(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return type(node)(map(adapted, node))
        return node.replace('data/mini_lvis', data) if isinstance(node, str) else node

    config = Config(adapted(read(f'mini_lvis/{name}').to_dict()))
    config.model.teacher = None
    return config


def picture() -> dict:
    """As LoadSemanticSegmentation leaves it: the labels 3 and 230, and what is ignored."""
    labels = np.full((SIZE, SIZE), 255, np.int32)
    labels[:40, :30], labels[:, 30:] = 3, 230
    image = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
    return dict(
        img_id=1, img_path='1.jpg', img=image, img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE),
        gt_seg_map=labels, ignore_index=255,
    )  # fmt: skip


@pytest.mark.parametrize(
    'name',
    [pytest.param(n, marks=pytest.mark.onedl if n.startswith('gkc_') else ()) for n in TRAININGS],
)
def test_training(name: str, data: str, monkeypatch) -> None:
    """A step that changes every parameter that learns; every row has the same schedule, but for
    what all start from.
    """
    monkeypatch.delenv('MINI_LVIS', raising=False)
    torch.manual_seed(0)
    np.random.seed(0)
    config = load(name, data)
    assert config.train_dataloader.dataset.pipeline == config.train_pipeline
    plain = read('mini_lvis/gkc-plain_lite0_mini-lvis.py')
    longer = () if name.startswith('gkc-start') else ('param_scheduler', 'train_cfg')
    for part in ('optim_wrapper', 'auto_scale_lr', *longer):
        assert config.get(part) == plain.get(part)
    model = MODELS.build(config.model)
    model.init_weights()
    head = model.panoptic_head
    way, distill = EXPECTED[name.removesuffix('_lite0_mini-lvis.py')]
    assert getattr(head.synonym_loss, 'way', None) == way
    assert (None if distill is None else type(head.distill_loss).__name__) == distill
    # Names are classified with one weight in all, whatever the number of losses.
    weights = head.loss_cls.loss_weight, getattr(head.synonym_loss, 'loss_weight', 0)
    assert sum(weights) == plain.model.panoptic_head.loss_cls.loss_weight
    pipeline = Compose([TRANSFORMS.build(each) for each in config.train_pipeline[2:]])
    samples = [pipeline(picture()) for _ in range(2)]
    assert samples[0]['data_samples'].gt_instances.labels.tolist() == [3, 230]
    batch = model.data_preprocessor(pseudo_collate(samples), training=True)
    total, parts = model.parse_losses(model(**batch, mode='loss'))
    assert ('loss_synonym' in parts, 'loss_distill' in parts) == (bool(way), bool(distill))
    total.backward()
    learns = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert torch.isfinite(total) and not [n for n, p in learns.items() if p.grad is None]
    assert not [n for n in learns if n.startswith('backbone.model.blocks.0.')]
    optimizer = build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper)).optimizer
    kinds = {id(p): group for group in optimizer.param_groups for p in group['params']}
    backbone = next(p for n, p in learns.items() if n.startswith('backbone.'))
    assert kinds[id(backbone)]['lr'] < kinds[id(head.cls_embed.weight)]['lr']
    assert kinds[id(head.fc_cls.background)]['weight_decay'] == 0


def test_the_rival_is_the_plain_segmentor(data: str, monkeypatch) -> None:
    monkeypatch.delenv('MINI_LVIS', raising=False)
    plain, rival = (
        load(f'{name}_lite0_mini-lvis.py', data) for name in ('gkc-plain', 'clip-on-masks')
    )
    assert rival.model.pop('type') == 'CLIPOnMasks'
    own, classes = rival.model.pop('own_words'), 8
    assert len(own) == classes
    assert rival.model.panoptic_head.cls_predictor_cfg.pop('temperature') == 0.04
    plain.model.pop('type')
    plain.model.panoptic_head.cls_predictor_cfg.pop('temperature')
    assert rival.model == plain.model
    for each in rival.test_dataloader.dataset.datasets:
        assert [t.type for t in each.pipeline[:2]] == ['LoadImageFromFile', 'KeepOriginalImage']


def test_names_of_configs() -> None:
    assert sorted(name.removesuffix('_lite0_mini-lvis.py') for name in GKC_MINI) == sorted(
        [*EXPECTED, *OTHERS]
    )
