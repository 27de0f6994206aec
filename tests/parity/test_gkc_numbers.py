"""GKC's pieces against the numbers of the authors' own code.

Over ``gkc_small.npz`` beside this file, a part of what the code of github.com/yongliu20/GKC makes
of random inputs, and over every ``gkc_*.npz`` in the folder that ``VILD_PARITY_DIR`` names. What is
not in a file is not compared.
"""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import MaskFormerHead
from mmdet.models.task_modules import AssignResult, MaskPseudoSampler
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.structures import InstanceData
from torch import nn
from torch.nn.functional import interpolate

from mmdet_vild.datasets.draw_synonyms import probable
from mmdet_vild.evaluation.open_vocabulary_seg_metric import ious, means, pixel_counts
from mmdet_vild.models import SynonymLoss, Words
from mmdet_vild.models.segmentors.open_vocabulary_fusion_head import (
    OpenVocabularyFusionHead,
    word_scores,
)
from mmdet_vild.models.segmentors.text_query_head import TextQueryHeadMixin
from mmdet_vild.teacher.crops import resize_windows
from mmdet_vild.teacher.masked_crops import painted_crops, pool_tokens
from mmdet_vild.vocabulary import TextEmbeddings
from mmdet_vild.vocabulary.plain_names import plain_name

register_all_modules()
FOLDERS = {Path(__file__).parent, Path(os.environ.get('VILD_PARITY_DIR', Path(__file__).parent))}
FILES = sorted(path for folder in FOLDERS for path in folder.glob('gkc_*.npz'))
#: Of the runs: the way of synonyms, the student, what the teacher is, and the mean.
RUNS = {
    'rand_prior_joint': ('random', 'prior', 'global', 'joint'),
    'rand_prior_separate': ('random', 'prior', 'map', 'separate'),
    'rand_prior_relu': ('random', 'prior_relu', 'global', 'separate'),
    'rand_posterior_relu': ('random', 'posterior_relu', 'global', 'separate'),
    'max_posterior_separate': ('max', 'posterior', 'global', 'separate'),
    'mean_direct_joint': ('mean', 'direct', 'map', 'joint'),
}
NAMES = dict(loss_ce='loss_cls', loss_syn='loss_synonym', loss_kd='loss_distill',
             loss_text_kd='loss_text_distill')  # fmt: skip

pytestmark = pytest.mark.onedl


@pytest.fixture(params=FILES, ids=lambda path: f'{path.parent.name}/{path.stem}')
def parity(request) -> dict:
    with np.load(request.param) as data:
        return dict(data)


def assert_close(found, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal to a part of the largest value."""
    found = found.detach().numpy() if isinstance(found, torch.Tensor) else found
    assert found.shape == expected.shape
    atol = tolerance * max(np.abs(expected).max(), 1e-6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


class Matching:
    """Gives out the matching of the file, of one prediction and image after the other."""

    def __init__(self, parity: dict, predictions: int, images: int) -> None:
        matches = [parity[f'in/match/{i}'] for i in range(predictions)]
        self.left = [m[m[:, 0] == b, 1:] for m in matches for b in range(images)]

    def assign(self, pred_instances, gt_instances, img_meta) -> AssignResult:
        found = torch.zeros(len(pred_instances), dtype=torch.long)
        queries, segments = torch.from_numpy(self.left.pop(0)).T
        found[queries] = segments + 1
        return AssignResult(len(gt_instances), found, None, None)


class Queries(MaskFormerHead):
    """What of mmdet's head computes losses, without a network."""

    def __init__(self, width: int, categories: int, queries: int, assigner: Matching) -> None:
        nn.Module.__init__(self)
        self.num_classes, self.num_queries = categories, queries
        self.class_weight = [1.0] * categories + [0.1]
        self.cls_embed = nn.Linear(width, categories + 1)
        self.assigner, self.sampler = assigner, MaskPseudoSampler()
        losses = dict(
            cls=dict(type='CrossEntropyLoss', class_weight=self.class_weight),
            mask=dict(type='FocalLoss'),
            dice=dict(type='DiceLoss'),
        )
        for name, loss in losses.items():
            setattr(self, f'loss_{name}', MODELS.build(loss))


class TextQueries(TextQueryHeadMixin, Queries):
    predictions = 0

    @property
    def num_predictions(self) -> int:
        return self.predictions


class Padded(SynonymLoss):
    """With the columns by which the authors pad the vocabularies of a batch, and which compete."""

    def pad(self, text: np.ndarray, counts: np.ndarray) -> None:
        self.missing = counts.max() - counts
        many = nn.functional.normalize(torch.tensor(text).float(), dim=0)
        self.own, more = len(self.names), self.missing.max()
        self.names = torch.cat([self.names, many.expand(more, -1)])
        self.owners = torch.cat([self.owners, self.owners.new_zeros(more)])

    def columns(self, labels, rows):
        found, own = super().columns(labels, rows), self.own
        for row, missing in zip(found, self.missing, strict=True):
            row[own : own + missing] = True
        return found


def words_files(parity: dict, folder: Path) -> tuple[str, str]:
    """Of the plain texts, and with all names."""
    plain, names, owner = (parity[f'in/{k}'] for k in ('plain_text', 'name_text', 'set_of_name'))
    assert (np.diff(owner) >= 0).all()
    classes = [f'c{c}' for c in range(len(plain))]
    synonyms = [[f'n{i}' for i in np.flatnonzero(owner == c)] for c in range(len(plain))]
    novel = np.zeros(len(plain), bool)
    paths = str(folder / 'plain.npz'), str(folder / 'names.npz')
    TextEmbeddings(plain, classes, novel, 'teacher@0').save(paths[0])
    rest = (synonyms, ['{}'], names.astype(np.float32))
    TextEmbeddings(plain, classes, novel, 'teacher@0', *rest).save(paths[1])
    return paths


def build(parity: dict, run: str, folder: Path) -> TextQueries:
    """The head of a run, holding the file's weights."""
    way, student, _, reduce = RUNS[run]
    plain, names = words_files(parity, folder)
    predictions, images, queries, width = parity['in/query'].shape
    TextQueries.predictions = predictions
    head = TextQueries(
        width,
        len(parity['in/plain_text']),
        queries,
        Matching(parity, predictions, images),
        cls_predictor_cfg=dict(
            type='CLIPTextClassifier', text_embeddings=plain, learned_temperature=True
        ),
        synonym_loss=dict(type='SynonymLoss', text_embeddings=names, way=way, loss_weight=1.0),
        distill_loss=dict(
            type='TextGuidedDistillLoss', loss_weight=1.0, text_weight=1.0, reduce=reduce
        ),
        student=student,
    )
    if way == 'random':
        head.synonym_loss.__class__ = Padded
        head.synonym_loss.pad(parity['in/padding_text'], parity['in/num_columns'])
    kind = 'posterior' if student.startswith('posterior') else 'prior'
    with torch.no_grad():
        for i in range(predictions):
            own = head.fc_cls.projection if i == predictions - 1 else head.projections[i]
            fill(own, parity['in/embed_weight'][i], parity['in/embed_bias'][i])
            if student != 'direct':
                weight = parity[f'in/kd_weight_{kind}'][i]
                fill(head.distill_projections[i], weight, parity['in/kd_bias'][i])
        head.fc_cls.logit_scale.fill_(float(parity['in/log_scale']))
        head.fc_cls.background.copy_(torch.tensor(parity['in/no_object'][0]))
        head.distill_loss.scale.fill_(float(parity['in/text_scale']))
    return head


def fill(layer: nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    layer.weight.copy_(torch.tensor(weight))
    layer.bias.copy_(torch.tensor(bias))


def ground_truth(parity: dict, run: str, head: TextQueries) -> list[InstanceData]:
    teacher = parity['in/teacher_global']
    if RUNS[run][2] == 'map':
        teacher = parity['in/teacher_map'].mean((2, 3))
    labels = torch.tensor(parity['in/labels'])
    starts = np.cumsum(parity['in/num_columns']) - parity['in/num_columns']
    image = np.repeat(np.arange(len(starts)), parity['in/num_segments'])
    rows = parity['in/column_rows'][starts[image] + parity['in/target_columns']]
    drawn = torch.tensor(rows) - head.synonym_loss.first[labels]
    whole = InstanceData(
        labels=labels,
        masks=torch.zeros(len(labels), 2, 2).long(),
        embeddings=torch.tensor(teacher).float(),
        synonyms=drawn,
    )
    ends = np.cumsum(parity['in/num_segments'])
    found = [whole[int(e - n) : int(e)]
             for e, n in zip(ends, parity['in/num_segments'], strict=True)]  # fmt: skip
    for instances in found:
        instances.set_metainfo(dict(teacher='teacher@0'))
    return found


@pytest.mark.parametrize('run', RUNS)
def test_losses_and_gradients(parity, run, tmp_path):
    if f'{run}/loss_ce/0' not in parity:
        pytest.skip('not in this file')
    head = build(parity, run, tmp_path)
    query = torch.tensor(parity['in/query']).float().requires_grad_()
    masks = torch.zeros(*query.shape[:3], 2, 2)
    images = query.shape[1]
    losses = head.loss_by_feat(query, masks, ground_truth(parity, run, head), [{}] * images)
    total, last, compared = 0, len(query) - 1, 0
    for key, expected in parity.items():
        if key.startswith(f'{run}/loss_'):
            _, kind, prediction = key.split('/')
            name = NAMES[kind] if int(prediction) == last else f'd{prediction}.{NAMES[kind]}'
            assert losses[name].item() == pytest.approx(float(expected), rel=1e-5), key
            total, compared = total + losses[name], compared + 1
    assert compared == len(query) * (3 if RUNS[run][3] == 'joint' else 4)
    logits = head.training_logits(head.embed(query[-1]))
    if f'{run}/logits_plain' in parity:
        assert_close(logits, parity[f'{run}/logits_plain'])
    if f'{run}/grad_query' in parity:
        total.backward()
        assert_close(query.grad, parity[f'{run}/grad_query'], 1e-4)
        assert_close(head.fc_cls.logit_scale.grad, parity[f'{run}/grad_log_scale'], 1e-4)
        assert_close(head.fc_cls.background.grad[None], parity[f'{run}/grad_no_object'], 1e-4)
        assert_close(head.distill_loss.scale.grad, parity[f'{run}/grad_text_scale'], 1e-4)


@pytest.mark.parametrize('kind', ['names', 'single'])
def test_inference(parity, kind, tmp_path):
    if f'inference_{kind}/text' not in parity:
        pytest.skip('not in this file')
    part = {k.split('/')[1]: v for k, v in parity.items() if k.startswith(f'inference_{kind}/')}
    run = next(run for run in RUNS if f'{run}/loss_ce/0' in parity)
    head = build(parity, run, tmp_path)
    owners = torch.tensor(part['category_of_name'])
    count = int(owners.max()) + 1
    texts = nn.functional.normalize(torch.tensor(part['text']).float(), dim=1)
    words = Words(tuple(map(str, range(count))), texts, torch.zeros(count).bool(), count, owners)
    head.fc_cls.synonyms = 'max'
    logits = head.fc_cls.classify(
        head.embed(torch.tensor(parity['in/query'][-1, 0]).float()), words
    )
    shape, size = (tuple(part[f'{key}_shape'].tolist()) for key in ('img', 'ori'))
    padded = [-(-side // 32) * 32 for side in shape]
    masks = torch.tensor(part['mask_logits']).float()[None]
    masks = interpolate(masks, padded, mode='bilinear', align_corners=False)[0]
    scores = torch.cat([chunk for _, chunk in word_scores(logits, masks, shape, size)])
    assert_close(scores, part['scores'])
    fusion = OpenVocabularyFusionHead(count, 0, test_cfg={})
    found = fusion.semantic_postprocess(logits, masks, shape, size).sem_seg[0].numpy()
    assert (found == part['labels']).mean() > 0.9995


def test_vocabulary_of_an_image(parity, tmp_path):
    """The names that the authors' code draws and appends, as a set, and each segment's own."""
    _, names = words_files(parity, tmp_path)
    loss = SynonymLoss(names)
    first = loss.first.tolist()
    numbers = [key.split('/')[1] for key in parity if key.endswith('/columns')]
    if not numbers:
        pytest.skip('not in this file')
    for number in numbers:
        keys = ('segment_labels', 'segment_crowd', 'drawn', 'columns', 'target_columns')
        part = {key: parity[f'draw/{number}/{key}'] for key in keys}
        if part['segment_crowd'].any():  # theirs rename a column, ours are no segments
            continue

        def row(name: str) -> int:
            category, number = str(name)[1:].split('_n')
            return first[int(category)] + int(number)

        drawn = torch.tensor([list(map(row, part['drawn']))], dtype=torch.long)
        labels = torch.tensor(part['segment_labels'])[None].long()
        if drawn.numel() and drawn.max() >= len(loss.names):
            continue  # of sets with more names than the file has texts of
        columns = loss.columns(labels, drawn)[0].nonzero().flatten().tolist()
        assert columns == sorted(map(row, part['columns']))
        own = [row(part['columns'][target]) for target in part['target_columns']]
        assert own == drawn[0].tolist()


def test_what_may_be_drawn(parity):
    """The names of more than 0.1, of which the authors' code drew one."""
    numbers = {key.split('/')[1] for key in parity if key.endswith('/probabilities')}
    if not numbers:
        pytest.skip('not in this file')
    for number in numbers:
        part = {k: parity[f'draw/{number}/{k}'] for k in ('candidates', 'probabilities', 'drawn')}
        for names, chances, drawn in zip(*part.values(), strict=True):
            allowed = probable(chances, 0.1)
            assert allowed.tolist() == [i for i, p in enumerate(chances.tolist()) if p > 0.1]
            assert drawn in names[allowed]


def test_metric(parity):
    """Each class's IoU, and both means; a class is predicted that no picture has."""
    if 'metric/iou' not in parity:
        pytest.skip('not in this file')
    part = {k.split('/')[1]: v for k, v in parity.items() if k.startswith('metric/')}
    count, ignored = int(part['num_classes']), int(part['ignore_index'])
    pictures = zip(part['prediction'], part['ground_truth'], strict=True)
    counts = sum(pixel_counts(found, true, count, ignored, None, 'it') for found, true in pictures)
    np.testing.assert_allclose(ious(counts), part['iou'], rtol=1e-12)
    found = means(counts)
    for ours, theirs in (('mIoU', 'miou_present'), ('mIoU_mmdet', 'miou_union'),
                         ('pAcc', 'pixel_accuracy')):  # fmt: skip
        assert found[ours] / 100 == pytest.approx(float(part[theirs]), rel=1e-12)
    assert found['mIoU'] != found['mIoU_mmdet']


def test_crops(parity):
    """Of boxes without the last row and column, which the authors cut off; see the docs."""
    if 'crops/image' not in parity:
        pytest.skip('not in this file')
    image, masks = parity['crops/image'], parity['crops/masks']
    size = int(parity['crops/size'])
    boxes = []
    for mask in masks:
        y, x = np.nonzero(mask)
        boxes.append([x.min(), y.min(), x.max(), y.max()])
    # Without the last row and column a line of a single pixel would be empty.
    crops = painted_crops(image, masks, np.array(boxes, float))
    mean, std = ((255 * torch.tensor(v)).view(3, 1, 1) for v in (
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))  # fmt: skip
    for crop, expected in zip(crops, parity['crops/pixels'], strict=True):
        pixels = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None]
        window = torch.tensor([[0, 0, crop.shape[1], crop.shape[0]]])
        how = (pixels, torch.zeros(1).long(), window, (size, size), 'squash', mean, std)
        found = resize_windows(*how)[0].numpy()
        # A level of 255, where torch and Pillow round to different sides.
        assert np.abs(found - expected).max() < 1.01 / 255 / 0.26


@pytest.mark.parametrize('size', ['same', 'other'])
def test_attention_pool(parity, size):
    if f'attention_pool/{size}/features' not in parity:
        pytest.skip('not in this file')
    weights = {k.split('/')[-1]: torch.tensor(v) for k, v in parity.items() if '/weights/' in k}
    pool = SimpleNamespace(
        positional_embedding=weights['positional_embedding'],
        num_heads=int(parity['attention_pool/num_heads']),
    )
    for name in ('q_proj', 'k_proj', 'v_proj', 'c_proj'):
        weight = weights[f'{name}.weight']
        layer = nn.Linear(*weight.shape[::-1], dtype=torch.float64)
        layer.load_state_dict(dict(weight=weight, bias=weights[f'{name}.bias']))
        setattr(pool, name, layer)
    part = {key: parity[f'attention_pool/{size}/{key}'] for key in
            ('features', 'global', 'local', 'local_mean')}  # fmt: skip
    tokens = pool_tokens(pool, torch.tensor(part['features']))
    assert_close(tokens[:, 0], part['global'], 1e-12)
    assert_close(tokens[:, 1:].mT.reshape(part['local'].shape), part['local'], 1e-12)
    assert_close(tokens[:, 1:].mean(1), part['local_mean'], 1e-12)


def test_names(parity):
    if 'names/raw' not in parity:
        pytest.skip('not in this file')
    assert [plain_name(name) for name in parity['names/raw'].tolist()] == parity[
        'names/clean'
    ].tolist()
