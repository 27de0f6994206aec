"""The converter of the authors' weights, on a narrow network with random ones."""

import copy
import json
import operator
import re
import sys
from dataclasses import replace
from pathlib import Path

import authors_network
import numpy as np
import pytest
import torch
from authors_network import (
    CFG_OPTIONS,
    WIDTH,
    Reference,
    load_converted,
    run_converter,
    write_categories,
    write_npz,
)
from mmdet.apis import DetInferencer
from mmdet.datasets import LVISV1Dataset
from mmdet.registry import MODELS, TASK_UTILS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import register_all_modules
from mmengine.config import Config

from mmdet_vild import config_path
from mmdet_vild.authors_network import legacy_bilinear
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl

HEAD = 'frcnn_layer_0/fast_rcnn_head'


def config(method: str = 'vild_r50') -> str:
    return config_path(f'vild_official/{method}_fpn_tf_32xb8-lsj-180k_lvis-v1.py')


def convert(source: Path, folder: Path, method: str = 'vild_r50', **options) -> Path:
    """Run the tool on a narrow config; returns the checkpoint."""
    categories = folder / 'annotations.json'
    if not categories.exists():
        write_categories(categories)
    words = 'model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings'
    options = CFG_OPTIONS | {words: folder / 'text.npz'} | options
    run_converter(
        *('vild_tf_to_mmdet.py', source, config(method), folder / 'new/out.pth'),
        *('--categories', categories, '--cfg-options'),
        *(f'{key}={value}'.replace(' ', '') for key, value in options.items()),
    )
    return folder / 'new/out.pth'


@pytest.fixture(scope='module', params=[False, True], ids=['vild', 'vild-ensemble'])
def converted(request, tmp_path_factory) -> tuple[torch.nn.Module, Reference, bool, Path]:
    """A converted model, and the formulas on the same variables."""
    folder = tmp_path_factory.mktemp('converted')
    values = authors_network.variables(ensemble=request.param)
    method = 'vild-ensemble_r50' if request.param else 'vild_r50'
    path = convert(write_npz(folder / 'source.npz', values), folder, method)
    return load_converted(path)[0].double(), Reference(values), request.param, path


def close(found: torch.Tensor, expected: torch.Tensor, atol: float = 1e-5) -> None:
    """Equal, but for what float32 weights round."""
    assert found.shape == expected.shape
    limit = atol * expected.abs().max().item()
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=limit)


@pytest.mark.parametrize('height, width', [(128, 192), (160, 96)])
def test_network_is_the_formulas(converted, height, width):
    """From the image to the RPN; 160 and 96 make odd levels."""
    model, reference, _, _ = converted
    image = torch.randn(2, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        features = model.backbone(image)
        expected = reference.backbone(image)
        for found, wanted in zip(features, expected, strict=True):
            close(found, wanted)
        features, expected = model.neck(features), reference.fpn(expected)
        for found, wanted in zip(features, expected, strict=True):
            close(found, wanted)
        scores, boxes = model.rpn_head(features)
    for score, box, (wanted_score, wanted_box) in zip(
        scores, boxes, reference.rpn(expected), strict=True
    ):
        close(score, wanted_score)
        close(box.unflatten(1, (3, 4)), wanted_box.unflatten(1, (3, 4))[:, :, [1, 0, 3, 2]])


def test_heads_are_the_formulas(converted):
    """From features and boxes of every level, among them thin, empty and swapped ones."""
    model, reference, ensemble, _ = converted
    features = [
        torch.randn(1, WIDTH, 256 // s, 256 // s, dtype=torch.float64) for s in (1, 2, 4, 8, 16)
    ]
    boxes = [[3.2, 1.1, 40.7, 60.3], [0, 0, 1023, 1023], [100, 50, 500.5, 600], [3, 3, 450, 451]]
    boxes += [[10, 10, 10.5, 300], [1023, 5, 1023, 80], [1023, 5, 1022.99, 80], [100, 20, 250, 230]]
    boxes = torch.tensor(boxes, dtype=torch.float64)
    head = copy.deepcopy(model.roi_head).float()  # the classifier works in float32
    maps, rois = [x.float() for x in features], bbox2roi([boxes.float()])
    with torch.no_grad():
        results = head._bbox_forward(maps, rois)
        masks = head._mask_forward(maps, rois)['mask_preds']
    sampled = reference.roi_features(features, boxes, 7)
    close(results['bbox_feats'], sampled, 1e-4)
    logits, deltas, image_logits = reference.head(sampled, ensemble)
    expected = [logits.roll(-1, 1), image_logits] if ensemble else [logits.roll(-1, 1)]
    close(results['cls_score'], torch.cat(expected, dim=1), 1e-4)
    close(results['bbox_pred'], deltas[:, [1, 0, 3, 2]], 1e-4)
    close(masks, reference.mask_head(reference.roi_features(features, boxes, 14)), 1e-4)


@pytest.mark.parametrize('part', ['rpn_head', 'roi_head.bbox_head'])
def test_boxes(part):
    """As their formulas: widths are x2 - x1 + 1, and clipped is to the last pixel."""
    register_all_modules()
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 90, (200, 2))
    # Some are empty, and become narrower: their corners are swapped.
    boxes = np.concatenate([start, start + rng.choice([0, 30], (200, 2))], axis=1)
    deltas = rng.normal(size=(200, 4)) * 2
    deltas[:5, 2:] = 50  # beyond what an exponential is taken of
    cfg = Config.fromfile(config()).model
    coder = TASK_UTILS.build(operator.attrgetter(part)(cfg).bbox_coder)
    size = boxes[:, 2:] - boxes[:, :2] + 1
    stds = np.ones(4) if part == 'rpn_head' else np.array([0.1, 0.1, 0.2, 0.2])
    centre = boxes[:, :2] + 0.5 * size + (deltas * stds)[:, :2] * size
    size = size * np.exp(np.minimum((deltas * stds)[:, 2:], np.log(1000 / 16)))
    corner = centre - 0.5 * size
    expected = np.concatenate([corner, corner + size - 1], axis=1).clip(0, [99, 79, 99, 79])
    args = (torch.from_numpy(boxes), torch.from_numpy(deltas))
    found = coder.decode(*args, max_shape=(80, 100)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert (found[:, 0] > found[:, 2]).any()
    again = coder.decode(args[0], coder.encode(args[0], torch.from_numpy(expected))).numpy()
    np.testing.assert_allclose(again[5:], expected[5:], atol=1e-4)


def test_missing_proposals_are_empty_boxes(converted):
    """As many as max_per_img says, but not in training, where they would be sampled."""
    model, _, _, _ = converted
    head = copy.deepcopy(model.rpn_head).float()
    maps = [torch.randn(1, WIDTH, 16 // s, 16 // s) for s in (1, 2, 4, 8, 16)]
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64)))
    with torch.no_grad():
        for padded in (True, False):
            head.training = not padded  # the head alone: norms need more than a pixel
            (found,) = head.predict(maps, [sample], rescale=False)
            count = int((found.scores > 0).sum())
            assert 10 < count < 1000
            assert len(found) == len(found.labels) == (1000 if padded else count)
            assert not found.bboxes[count:].any() and found.labels.dtype == torch.int64


def test_initial_weights_of_the_deconvolution():
    register_all_modules()
    cfg = Config.fromfile(config()).model.roi_head.mask_head
    head = MODELS.build(dict(cfg, norm_cfg=dict(type='BN')))
    before = head.upsample[0].weight.clone()
    head.init_weights()
    weight = head.upsample[0].weight
    assert not torch.equal(weight, before) and not head.upsample[0].bias.any()
    # He initialisation, fan out: 256 channels of 2 x 2.
    assert weight.std().item() == pytest.approx((2 / (256 * 4)) ** 0.5, rel=0.02)


def test_anchors():
    """8 strides wide for a square, ratios of width to height 1, 2 and 0.5, at cell centres."""
    cfg = Config.fromfile(config())
    register_all_modules()
    head = MODELS.build(dict(cfg.model.rpn_head, norm_cfg=dict(type='BN')))
    anchors = head.prior_generator.grid_priors([(2, 3)] * 5, device='cpu')
    for stride, found in zip((4, 8, 16, 32, 64), anchors, strict=True):
        expected = [
            [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
            for y in (stride / 2, stride * 1.5)
            for x in (stride / 2, stride * 1.5, stride * 2.5)
            for w, h in [(8 * stride * r**0.5, 8 * stride / r**0.5) for r in (1, 2, 0.5)]
        ]
        torch.testing.assert_close(found, torch.tensor(expected))


def test_preprocessing(converted):
    """Resized by the test pipeline, normalised as theirs, then padded with zeros to 1024 x 1024."""
    model, _, _, _ = converted
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    resize = Config.fromfile(config()).test_dataloader.dataset.pipeline[1]
    resized = TRANSFORMS.build(resize)(dict(img=image, img_shape=(64, 96), ori_shape=(64, 96)))
    expected = legacy_bilinear(image, (683, 1024))
    np.testing.assert_array_equal(resized['img'], expected)
    sample = DetDataSample(metainfo=dict(img_shape=(683, 1024), ori_shape=(64, 96)))
    inputs = [torch.from_numpy(resized['img']).permute(2, 0, 1)]
    batch = model.data_preprocessor(dict(inputs=inputs, data_samples=[sample]))
    (padded,) = batch['inputs']
    assert padded.shape == (3, 1024, 1024) and not padded[:, 683:].any()
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    expected = torch.from_numpy(expected).permute(2, 0, 1).flip(0)  # RGB
    close(padded[:, :683], (expected / 255 - mean) / std)


def test_checkpoint(converted):
    """Safe to load; MMDetection's inferencer takes the config from it."""
    model, _, ensemble, path = converted
    torch.load(path, weights_only=True)
    inferencer = DetInferencer(weights=str(path), device='cpu')
    names = [f'category {i}' for i in range(5)]
    assert list(inferencer.visualizer.dataset_meta['classes']) == names
    assert type(inferencer.model.roi_head.bbox_head) is type(model.roi_head.bbox_head)
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    (found,) = inferencer(image, no_save_vis=True)['predictions']
    assert len(found['scores']) == 300 and set(found['labels']) <= set(range(5))
    text = TextEmbeddings.load(str(path.parent.parent / 'text.npz'))
    assert text.names == tuple(names) and text.novel.tolist() == [False, True, False, True, False]
    values = authors_network.variables(ensemble=ensemble)
    np.testing.assert_array_equal(text.embeddings, values[f'{HEAD}/class-predict/kernel'].T)
    assert not list(path.parent.glob('*.partial'))


def test_resnet_152(tmp_path):
    values = authors_network.variables(152)
    path = convert(write_npz(tmp_path / 'a.npz', values), tmp_path, 'vild_r152')
    model, _ = load_converted(path)
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        found = model.double().backbone(image)
    for level, expected in zip(found, Reference(values).backbone(image, 152), strict=True):
        close(level, expected)


SLOTS = {f'{HEAD}/conv_0/kernel/Momentum': np.zeros(3), 'global_step': np.array(180000)}


def test_drops_what_only_training_needs(tmp_path, capsys):
    values = authors_network.variables() | SLOTS
    convert(write_npz(tmp_path / 'a.npz', values), tmp_path)
    out = capsys.readouterr().out
    assert f'dropped {len(SLOTS)} variables of the training:' in out
    assert all(f'    {name}\n' in out for name in SLOTS)
    assert f'{len(values) - len(SLOTS) - 1} variables' in out  # the words go elsewhere


FC6, WORDS_ = f'{HEAD}/fc6/kernel', f'{HEAD}/class-predict/kernel'


@pytest.mark.parametrize(
    'changed, method, message',
    [
        ({'fpn/p6/bias': None}, 'vild_r50', 'no variable fpn/p6/bias, which becomes'),
        ({'fpn/l7/kernel': np.zeros(2)}, 'vild_r50', "['fpn/l7/kernel']"),
        ({'rpn_head/rpn-box/bias': np.zeros(8)}, 'vild_r50', 'rpn-box/bias has the shape (8,)'),
        (
            {FC6: np.zeros((392, 13))},
            'vild_r50',
            'fc6/kernel has the shape (392, 13), which is not',
        ),
        ({}, 'vild-ensemble_r50', 'is it that of another config'),
        ({}, 'vild_r152', 'is it that of another config'),
        ({WORDS_: None}, 'vild_r50', 'it is not one of ViLD'),
        ({WORDS_: np.zeros((6, 4))}, 'vild_r50', 'expected (width, 5), a column for each category'),
        (
            {'fpn/p6/bias': np.array([np.nan] * 8)},
            'vild_r50',
            'fpn/p6/bias has values that are not',
        ),
        ({'fpn/p6/bias': np.array([1e300] * 8)}, 'vild_r50', 'fpn/p6/bias has values that are not'),
        (
            {'fpn/p6/bias': np.array(['a'] * 8)},
            'vild_r50',
            'fpn/p6/bias has the type <U1; expected',
        ),
    ],
)
def test_refuses(tmp_path, changed, method, message):
    """With the name of the variable, and nothing written."""
    values = authors_network.variables() | changed
    source = write_npz(tmp_path / 'a.npz', {k: v for k, v in values.items() if v is not None})
    with pytest.raises(ValueError, match=re.escape(message)):
        convert(source, tmp_path, method)
    assert not list(tmp_path.glob('new/*')) and not (tmp_path / 'text.npz').exists()


@pytest.mark.parametrize(
    'config, message',
    [
        ('vild/vild_r50_fpn_20e_lvis-v1.py', 'becomes neck.lateral_convs.0.conv.bias, which the'),
        ('mask_rcnn/mask-rcnn_r50_fpn_20e_lvis-v1-base.py', 'has no CLIPTextClassifier'),
    ],
)
def test_another_config(tmp_path, monkeypatch, config, message):
    """Named by mistake: it says which one to name."""
    source = write_npz(tmp_path / 'a.npz', authors_network.variables())
    monkeypatch.setattr(sys.modules[__name__], 'config', lambda _: config_path(config))
    with pytest.raises(ValueError, match=f'{message}.* name the config in configs/vild_official'):
        convert(source, tmp_path)


def test_ensemble_for_the_config_of_vild(tmp_path):
    source = write_npz(tmp_path / 'a.npz', authors_network.variables(ensemble=True))
    with pytest.raises(ValueError, match='variables that the config has no place for.*distill_fc6'):
        convert(source, tmp_path)


def test_keeps_the_words_of_others(tmp_path):
    """Once more is fine; another file at the place of the words is not overwritten."""
    values = authors_network.variables()
    source = write_npz(tmp_path / 'a.npz', values)
    first = convert(source, tmp_path).read_bytes()
    convert(source, tmp_path)
    names = tuple('abcde')
    TextEmbeddings(np.eye(5), names, np.zeros(5, bool), 'other').save(str(tmp_path / 'text.npz'))
    with pytest.raises(FileExistsError, match='holds other words than these'):
        convert(source, tmp_path)
    assert TextEmbeddings.load(str(tmp_path / 'text.npz')).names == names
    assert (tmp_path / 'new/out.pth').read_bytes()[:4] == first[:4]


class TestAuthorsWords:
    """``clip_synonym_prompt.npy`` and ``lvis_rare_masks.npy`` as they are."""

    COLUMNS = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32)
    MASK = np.array([1, 1, 0, 1, 0, 1], np.float32)

    def words(self, folder: Path, columns, mask=None, **categories):
        np.save(folder / 'clip_synonym_prompt.npy', columns)
        arguments = [folder / 'clip_synonym_prompt.npy', folder / 'text.npz']
        arguments += ['--categories', write_categories(folder / 'annotations.json', **categories)]
        if mask is not None:
            np.save(folder / 'lvis_rare_masks.npy', mask)
            arguments += ['--rare-mask', folder / 'lvis_rare_masks.npy']
        run_converter('authors_words.py', *arguments)
        return TextEmbeddings.load(str(folder / 'text.npz'))

    @pytest.mark.parametrize('novel', [(1, 3), ()])
    def test_reads(self, tmp_path, novel):
        text = self.words(tmp_path, self.COLUMNS, self.MASK, novel=novel)
        np.testing.assert_array_equal(text.embeddings, self.COLUMNS.T)
        assert text.names[4] == 'category 4'
        assert text.novel.tolist() == [False, True, False, True, False]
        assert text.synonyms[4] == ('category 4', 'thing 4')

    def test_without_a_mask(self, tmp_path):
        assert self.words(tmp_path, self.COLUMNS, novel=(0,)).novel[0]
        with pytest.raises(ValueError, match='no category of .* is novel'):
            self.words(tmp_path, self.COLUMNS, novel=())

    def test_the_order_of_the_categories(self, tmp_path, monkeypatch):
        file = write_categories(tmp_path / 'annotations.json')
        categories = json.loads(file.read_text())['categories'][::-1]
        file.write_text(json.dumps(dict(categories=categories)))
        monkeypatch.setattr(sys.modules[__name__], 'write_categories', lambda path: path)
        with pytest.raises(ValueError, match='do not have the ids 1 to 5 in this order'):
            self.words(tmp_path, self.COLUMNS)

    def test_keeps_other_words(self, tmp_path):
        for columns in (self.COLUMNS, self.COLUMNS):
            text = self.words(tmp_path, columns)
        for columns in (self.COLUMNS + 1, self.COLUMNS):
            with pytest.raises(FileExistsError, match='holds other words than these'):
                self.words(tmp_path, columns)
            replace(text, synonyms=()).save(str(tmp_path / 'text.npz'))

    def test_of_lvis_without_its_annotations(self, tmp_path):
        """1203 columns; MMDetection knows the names, the mask which are rare."""
        columns = np.random.default_rng(4).normal(size=(8, 1203)).astype(np.float32)
        mask = np.ones(1204, np.float32)
        mask[[1, 1203]] = 0
        np.save(tmp_path / 'clip_synonym_prompt.npy', columns)
        np.save(tmp_path / 'lvis_rare_masks.npy', mask)
        run_converter(
            *('authors_words.py', tmp_path / 'clip_synonym_prompt.npy'),
            *(tmp_path / 'text.npz', '--categories', 'LVISV1Dataset'),
            *('--rare-mask', tmp_path / 'lvis_rare_masks.npy'),
        )
        text = TextEmbeddings.load(str(tmp_path / 'text.npz'))
        assert text.names == LVISV1Dataset.METAINFO['classes']
        assert np.flatnonzero(text.novel).tolist() == [0, 1202]
        assert text.synonyms == ()

    @pytest.mark.parametrize(
        'columns, mask, message',
        [
            (COLUMNS.T, None, r'has the shape \(5, 6\); expected \(width, 5\)'),
            (COLUMNS, MASK[1:], r'has the shape \(5,\) .* expected \(6,\)'),
            (COLUMNS, MASK * 2, 'values such as'),
            (COLUMNS, 1 - MASK, 'the first, of background, 1'),
            (COLUMNS, np.array([], np.float32), r'has the shape \(0,\)'),
            (COLUMNS, np.array(['a'] * 6), 'lvis_rare_masks.npy holds no array of numbers'),
            (np.array([None] * 5), None, 'clip_synonym_prompt.npy is damaged or no .npy file'),
            (COLUMNS, MASK[::-1], 'differ on 4 categories'),
        ],
    )
    def test_refuses(self, tmp_path, columns, mask, message):
        with pytest.raises(ValueError, match=message):
            self.words(tmp_path, columns, mask)
        assert not (tmp_path / 'text.npz').exists()
