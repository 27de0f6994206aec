"""The parts of EZSD against the numbers of the authors' own implementation.

Over ``ezsd_0.npz`` beside this file, computed by the code of github.com/dragonlzm/EZAD (commit
a66287c) with random weights and inputs, and over every ``ezsd_*.npz`` in the folder that
``VILD_PARITY_DIR`` names, which may have more of them.
"""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdet_vild.datasets import CLIPCropEmbedding
from mmdet_vild.embedding_store import EmbeddingRecord
from mmdet_vild.extraction import CLIPAnchorProposer, Proposer
from mmdet_vild.extraction.clip_anchor_proposer import anchor_generator, anchors_of, name_scores
from mmdet_vild.models import ViLDImageDistillLoss
from mmdet_vild.teacher import TeacherTuner, crop_windows
from mmdet_vild.teacher.crops import resize_windows
from mmdet_vild.teacher.teacher_tuner import size_weights
from mmdet_vild.vocabulary import TextEmbeddings

FOLDERS = {Path(__file__).parent, Path(os.environ.get('VILD_PARITY_DIR', Path(__file__).parent))}
FILES = sorted(path for folder in FOLDERS for path in folder.glob('ezsd_*.npz'))
RATIOS, SIZES = (0.5, 1.0, 2.0), (32, 64, 128, 256, 512)
#: What the authors put in place of a probability that float32 rounds to zero.
FLOOR = 1e-5
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

pytestmark = pytest.mark.onedl


@pytest.fixture(params=FILES, ids=lambda path: f'{path.parent.name}/{path.stem}')
def parity(request) -> dict:
    with np.load(request.param) as data:
        return dict(data)


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array)).float()


def assert_close(found, expected, atol: float = 1e-5) -> None:
    """Equal to ``atol`` of the largest value, and of 1."""
    found = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    assert found.shape == np.shape(expected)
    atol *= max(1, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_anchors(parity):
    generator = anchor_generator(32, SIZES, RATIOS)
    assert_close(generator.base_anchors[0], parity['anchors/base_anchors'])
    found = anchors_of(generator, tuple(parity['anchors/a/img_shape'].tolist()), 'cpu')
    height, width = parity['anchors/a/img_shape']
    expected = parity['anchors/a/anchors'].clip(0, [width, height] * 2)
    assert_close(found, expected)


class FakeTeacher:
    """Sees what logits say: its words are axes of the space."""

    temperature = 0.01
    identity = 'fake@0'

    def __init__(self, first: np.ndarray, second=None) -> None:
        self.first, self.second = first, first if second is None else second
        self.embed_dims = first.shape[1]

    def embed_regions(self, images, boxes, crop_scales=None):
        looked = self.first if crop_scales == (1.0,) else self.second
        return torch.cat([tensor(looked)[: len(each)] * self.temperature for each in boxes])


@TASK_UTILS.register_module()
class GivenRegions(Proposer):
    def __init__(self, boxes) -> None:
        self.boxes = boxes

    def source(self, model):
        return {}

    def propose(self, model, batch_inputs, batch_data_samples):
        return [InstanceData(bboxes=tensor(self.boxes)) for _ in batch_data_samples]


def propose(folder, teacher, novel, img_shape, scale, gt=(), **options) -> InstanceData:
    """What the proposer finds in one image."""
    names = tuple(f'word {i}' for i in range(len(novel)))
    path = str(folder / 'text.npz')
    TextEmbeddings(np.eye(len(novel)), names, np.array(novel), 'fake@0').save(path)
    base = [name for name, new in zip(names, novel, strict=True) if not new]
    meta = dict(classes=names, novel_classes=tuple(set(names) - set(base)))
    model = SimpleNamespace(teacher=teacher, dataset_meta=meta)
    size = tuple((np.array(img_shape) / scale[1::-1]).round().astype(int).tolist())
    gt = np.reshape(gt, (-1, 4)) / scale
    labels = np.full(len(gt), names.index(base[0]))
    none = np.zeros((0, 4), np.float32), np.zeros(0, int)
    sample = DetDataSample(
        metainfo=dict(
            img_shape=tuple(img_shape), ori_shape=size, scale_factor=tuple(scale[:2]),
            ori_img=np.zeros((*size, 3), np.uint8), ori_gt_bboxes=gt, ori_gt_labels=labels,
            ori_crowd_bboxes=none[0], ori_crowd_labels=none[1],
        )
    )  # fmt: skip
    proposer = CLIPAnchorProposer(path, with_novel_names=True, **options)
    proposer.source(model)
    (found,) = proposer.propose(model, torch.zeros(1, 3, 1, 1), [sample])
    return found


def dets(regions: InstanceData) -> torch.Tensor:
    return torch.cat([regions.bboxes, regions.scores[:, None]], dim=1)


@pytest.mark.parametrize('score', ['entropy', 'confidence', 'least_confidence', 'grid'])
def test_proposals(parity, tmp_path, score):
    logits = parity['proposals/grid/logits' if score == 'grid' else 'proposals/logits']
    expected = parity[f'proposals/{score}/dets']
    keep, classes = len(expected), logits.shape[1]
    expected = expected[expected[:, 2] > 0]  # where fewer are left, theirs are rows of zeros
    found = propose(
        tmp_path,
        FakeTeacher(logits),
        [False] + [True] * (classes - 1),
        parity['proposals/img_shape'].tolist(),
        parity['proposals/scale_factor'],
        score=score,
        base_iou=None,
        num_proposals=keep,
        num_kept=keep,
    )
    assert_close(dets(found), expected, atol=2e-5)


def test_every_score(parity):
    """Where a probability is zero, the authors' entropy has a floor, and is lower by it."""
    logits = parity['proposals/logits']
    found, usable = name_scores(tensor(logits), 'entropy')
    shifted = logits - logits.max(1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True, dtype=np.float32)
    zeros = (p == 0).sum(1)
    assert zeros.any() and usable.all()
    expected = parity['proposals/entropy/unsuppressed']
    found = found + torch.from_numpy(zeros) * FLOOR * np.log(FLOOR)
    generator = anchor_generator(32, SIZES, RATIOS)
    boxes = anchors_of(generator, tuple(parity['proposals/img_shape'].tolist()), 'cpu')
    order = found.argsort(descending=True)
    assert_close(torch.cat([boxes, found[:, None]], dim=1)[order], expected)


def test_filter(parity, tmp_path):
    given, scale = parity['filter/proposals'], parity['filter/scale_factor']
    given = given[given[:, 2] > 0]
    kept, candidates = parity['filter/kept_rows'], parity['filter/candidates']
    classes = parity['filter/logits'].shape[1]
    # In the order that is given: sure of one word, less and less.
    first = np.zeros((len(given), classes), np.float32)
    first[:, 0] = np.linspace(5, 1, len(given))
    found = propose(
        tmp_path,
        FakeTeacher(first, parity['filter/logits']),
        ~np.isin(np.arange(classes), parity['filter/base_labels']),
        [10_000, 10_000],
        scale,
        parity['filter/gt_bboxes'],
        score='confidence',
        nms_iou=1.0,
        num_candidates=int(parity['filter/num_candidates']),
        drop_base=True,
        regions=dict(type='GivenRegions', boxes=given[:, :4]),
    )
    assert len(candidates) == len(parity['filter/logits'])
    assert_close(found.bboxes * tensor(scale), kept[:, :4], atol=2e-5)
    assert_close(found.weights, kept[:, 4])
    labels = found.embeddings.argmax(1).numpy()
    np.testing.assert_array_equal(parity['filter/category_ids'][labels], kept[:, 5])
    rows = [int(np.abs(given[:, :4] * scale - row[:4]).max(1).argmin()) for row in kept]
    assert rows == sorted(rows)
    assert_close(given[rows, 4], kept[:, 6])


def test_load(parity):
    """Rows of the best ``subset``; the authors draw from them with replacement."""
    kept, scale = parity['filter/kept_rows'], parity['filter/scale_factor']
    record = EmbeddingRecord(
        kept[:, :4] / scale, kept[:, 6], parity['filter/kept_features'], kept[:, 4]
    )
    store = SimpleNamespace(read=lambda results: record, teacher='authors', embed_dims=10)
    now, subset = parity['load/scale_now'], int(parity['load/subset'])
    transform = CLIPCropEmbedding(store, max_proposals=subset, subset=subset)
    matrix = np.diag([now[0], now[1], 1.0])
    size = tuple(round(float(1000 * factor)) for factor in now[1::-1])
    results = dict(img_id=1, ori_shape=(1000, 1000), img_shape=size, homography_matrix=matrix)
    found = transform.transform(results)
    draws = parity['load/draws']
    assert len(found['distill_bboxes']) == min(subset, len(kept)) > draws.max()
    assert_close(found['distill_bboxes'][draws], parity['load/bboxes'], atol=2e-5)
    assert_close(found['distill_weights'][draws], parity['load/weights'])
    assert_close(found['distill_embeddings'][draws], parity['load/features'])


@pytest.mark.parametrize(
    ('name', 'factor', 'of_gt', 'of_clip'),
    [
        ('coco', 1, 1, 1),
        ('lvis', 0.5, 1, 1),
        ('gt_weight_2', 1, 2, 1),
        ('clip_factor_half', 1, 1, 0.5),
    ],
)
def test_distillation(parity, name, factor, of_gt, of_clip):
    counts = parity['distill/gt_per_image'], parity['distill/clip_per_image']
    clip = np.split(of_clip * parity['distill/weights'], np.cumsum(counts[1])[:-1])
    images = [[of_gt] * n + list(part) for n, part in zip(counts[0], clip, strict=True)]
    weights = torch.tensor(np.concatenate(images))
    rows = [tensor(parity[f'distill/{side}']) for side in ('student', 'teacher')]
    loss = ViLDImageDistillLoss(factor, normalize_weights='image')
    found = loss(*rows, weights, list(map(len, images)))
    assert_close(found, parity[f'distill/loss_{name}'])
    assert_close(ViLDImageDistillLoss(1.0)(*rows), parity['distill/loss_unweighted'])


def build_head(parity: dict, prefix: str, folder: Path):
    """A head of the authors' layers, holding their weights."""
    words = parity[f'{prefix}/text_embeddings']
    names = tuple(f'word {i}' for i in range(len(words)))
    path = str(folder / 'text.npz')
    TextEmbeddings(words, names, np.zeros(len(names), bool), 'authors').save(path)
    start = f'{prefix}/weights/'
    weights = {k.removeprefix(start): tensor(v) for k, v in parity.items() if k.startswith(start)}
    temperature = weights.pop('_temperature', None)
    fixed = temperature is None
    scale = float(parity[f'{prefix}/temperature_factor']) if fixed else np.exp(float(temperature))

    def layers(branch: str, kind: str) -> int:
        return len({k.split('.')[1] for k in weights if k.startswith(f'{branch}_{kind}.')})

    numbers = {
        f'num_{branch}_{kind}': layers(branch, kind)
        for branch in ('shared', 'cls', 'reg')
        for kind in ('convs', 'fcs')
    }
    _, channels, size, _ = parity[f'{prefix}/roi_features'].shape
    head = MODELS.build(
        dict(
            type='SemanticBBoxHead',
            **numbers,
            in_channels=channels,
            conv_out_channels=channels,
            fc_out_channels=len(weights['map_to_clip.weight'].T),
            roi_feat_size=size,
            num_classes=len(words),
            cls_predictor_cfg=dict(
                type='CLIPTextClassifier',
                text_embeddings=path,
                temperature=1 / scale,
                learned_temperature=temperature is not None,
                normalize_background=False,
            ),
        )
    )
    width = head.fc_reg.in_features
    state = {
        'fc_reg.weight': weights['fc_reg.weight'][:, :width],
        'class_shift.weight': weights.pop('fc_reg.weight')[:, width:],
        'fc_cls.background': weights.pop('fc_cls_bg.weight')[0],
    }
    for key, value in weights.items():
        key = key.replace('map_to_clip', 'fc_cls.projection')
        state[re.sub(r'(_fcs\.\d)\.', r'\1.0.', key)] = value
    missing, unexpected = head.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {'fc_cls.teacher_digest', 'fc_cls.logit_scale'}
    return head.eval()


@pytest.mark.parametrize('prefix', ['head_separate', 'head_shared'])
def test_head(parity, tmp_path, prefix, monkeypatch):
    head = build_head(parity, prefix, tmp_path)
    features = tensor(parity[f'{prefix}/roi_features'])
    labels = torch.from_numpy(parity[f'{prefix}/labels'])
    embeddings, _ = head.embed(features)
    assert_close(embeddings, parity[f'{prefix}/embeddings'])
    logits, plain, distilled = head.forward_distill(torch.cat([features, features[:2]]), 2)
    assert_close(distilled, parity[f'{prefix}/embeddings'][:2])
    assert_close(logits, parity[f'{prefix}/logits'], atol=2e-5)
    given = {}
    parent = type(head).__mro__[1]
    monkeypatch.setattr(parent, 'loss', lambda self, c, d, *a, **k: given.update(d=d) or {})
    head.loss(logits, plain, None, labels)
    assert_close(given['d'], parity[f'{prefix}/deltas_train'])
    monkeypatch.setattr(
        parent, 'predict_by_feat', lambda self, rois, c, deltas, *a, **k: given.update(d=deltas)
    )
    head.predict_by_feat([None], [logits], [plain], [{}])
    assert_close(given['d'][0], parity[f'{prefix}/deltas_test'])


def test_tuning(parity):
    features, words = (
        tensor(parity[f'finetune/{name}']) for name in ('image_features', 'text_embeddings')
    )
    features = torch.nn.functional.normalize(features, dim=1)
    logits = float(parity['finetune/logit_scale']) * features @ words.T
    labels = torch.from_numpy(parity['finetune/labels'])
    without_bias = SimpleNamespace(loss_type='bce', bias=None)
    rows = TeacherTuner.row_losses(without_bias, logits, labels)
    assert_close(rows.mean(), parity['finetune/loss'])
    boxes = tensor(parity['finetune/boxes']).split(parity['finetune/per_image'].tolist())
    weights = size_weights(boxes, [tuple(shape) for shape in parity['finetune/img_shapes']])
    assert_close((rows * weights).mean(), parity['finetune/loss_size_weighted'])


@pytest.mark.parametrize(('kind', 'scale'), [('teacher', 1.2), ('anchors', 1.0)])
def test_crops(parity, kind, scale):
    """The authors' never see the last row and column, and enlarge small boxes to one side."""
    if 'crops/image' not in parity:
        pytest.skip('this file has no crops; VILD_PARITY_DIR may name a folder that has')
    image, boxes = parity['crops/image'], parity['crops/boxes'].copy()
    if kind == 'teacher':
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 10)
    found = crop_windows(tensor(boxes), scale, image.shape[:2])
    expected = parity[f'crops/{kind}/windows']
    height, width = image.shape[:2]
    np.testing.assert_array_equal(found.numpy().clip(0, [width - 1, height - 1] * 2), expected)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    mean, std = (255 * torch.tensor(v).view(3, 1, 1) for v in (OPENAI_MEAN, OPENAI_STD))
    size = int(parity['crops/size'])
    windows = torch.from_numpy(expected)
    owners = torch.zeros(len(windows)).long()
    crops = resize_windows(pixels, owners, windows, (size, size), 'pad_black', mean, std)
    difference = (crops - tensor(parity[f'crops/{kind}/pixels'])).abs() * std
    assert difference.max() <= 1.01  # a grey level
