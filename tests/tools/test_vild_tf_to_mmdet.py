"""The converter of the authors' weights, on a narrow network with random ones."""

import copy
import json
import re
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
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config

from mmdet_vild import config_path
from mmdet_vild.authors_network import legacy_bilinear
from mmdet_vild.vocabulary import TextEmbeddings

HEAD = 'frcnn_layer_0/fast_rcnn_head'


def config(method: str = 'vild_r50') -> str:
    """The config of a method of the authors, or that of another path in configs/."""
    if not method.endswith('.py'):
        method = f'vild_official/{method}_fpn_tf_32xb8-lsj-180k_lvis-v1.py'
    return config_path(method)


def convert(source: Path, folder: Path, method: str = 'vild_r50', **options) -> Path:
    """Run the tool on a narrow config; returns the checkpoint."""
    categories = folder / 'annotations.json'
    if not categories.exists():
        write_categories(categories)
    option = 'model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings'
    options = CFG_OPTIONS | {option: folder / 'text.npz'} | options
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


@pytest.mark.onedl
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


@pytest.mark.onedl
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


@pytest.mark.onedl
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


@pytest.mark.onedl
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


FC6, WORDS, BIAS = f'{HEAD}/fc6/kernel', f'{HEAD}/class-predict/kernel', 'fpn/p6/bias'
ENSEMBLE = authors_network.variables(ensemble=True)
REFUSED = [
    ({BIAS: None}, 'vild_r50', 'no variable fpn/p6/bias, which becomes'),
    ({'fpn/l7/kernel': np.zeros(2)}, 'vild_r50', "['fpn/l7/kernel']"),
    ({'rpn_head/rpn-box/bias': np.zeros(8)}, 'vild_r50', 'rpn-box/bias has the shape (8,)'),
    ({FC6: np.zeros((392, 13))}, 'vild_r50', 'fc6/kernel has the shape (392, 13), which is not'),
    ({}, 'vild-ensemble_r50', 'is it that of another config'),
    ({}, 'vild_r152', 'is it that of another config'),
    (
        authors_network.variables(ensemble=True),
        'vild_r50',
        'variables that the config has no place for',
    ),
    ({}, 'vild/vild_r50_fpn_20e_lvis-v1.py', 'becomes neck.lateral_convs.0.conv.bias, which the'),
    ({}, 'mask_rcnn/mask-rcnn_r50_fpn_20e_lvis-v1-base.py', 'has no CLIPTextClassifier'),
    ({WORDS: None}, 'vild_r50', 'it is not one of ViLD'),
    ({WORDS: np.zeros((6, 4))}, 'vild_r50', 'expected (width, 5), a column for each category'),
    ({BIAS: np.array([np.nan] * 8)}, 'vild_r50', 'fpn/p6/bias has values that are not'),
    ({BIAS: np.array([1e300] * 8)}, 'vild_r50', 'fpn/p6/bias has values that are not'),
    ({BIAS: np.array(['a'] * 8)}, 'vild_r50', 'fpn/p6/bias has the type <U1; expected'),
]


@pytest.mark.parametrize('changed, method, message', REFUSED)
def test_refuses(tmp_path, changed, method, message):
    """With the name of the variable, or the config to name, and nothing written."""
    values = authors_network.variables() | changed
    source = write_npz(tmp_path / 'a.npz', {k: v for k, v in values.items() if v is not None})
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        convert(source, tmp_path, method)
    if method.endswith('.py'):
        assert 'name the config in configs/vild_official' in str(refused.value)
    assert not list(tmp_path.glob('new/*')) and not (tmp_path / 'text.npz').exists()


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


COLUMNS = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32)
MASK = np.array([1, 1, 0, 1, 0, 1], np.float32)


def words(folder: Path, columns, mask=None, categories='annotations.json', **given):
    """The text embeddings that authors_words.py makes of ``clip_synonym_prompt.npy`` and
    ``lvis_rare_masks.npy``."""
    np.save(folder / 'clip_synonym_prompt.npy', columns)
    if categories == 'annotations.json':
        categories = write_categories(folder / categories, **given)
    arguments = [folder / 'clip_synonym_prompt.npy', folder / 'text.npz']
    arguments += ['--categories', categories]
    if mask is not None:
        np.save(folder / 'lvis_rare_masks.npy', mask)
        arguments += ['--rare-mask', folder / 'lvis_rare_masks.npy']
    run_converter('authors_words.py', *arguments)
    return TextEmbeddings.load(str(folder / 'text.npz'))


@pytest.mark.parametrize('novel', [(1, 3), ()])
def test_authors_words(tmp_path, novel):
    text = words(tmp_path, COLUMNS, MASK, novel=novel)
    np.testing.assert_array_equal(text.embeddings, COLUMNS.T)
    assert text.names[4] == 'category 4'
    assert text.novel.tolist() == [False, True, False, True, False]
    assert text.synonyms[4] == ('category 4', 'thing 4')


def test_authors_words_without_a_mask(tmp_path):
    assert words(tmp_path, COLUMNS, novel=(0,)).novel[0]
    with pytest.raises(ValueError, match='no category of .* is novel'):
        words(tmp_path, COLUMNS, novel=())


def test_authors_words_replace_no_others(tmp_path):
    for _ in range(2):
        text = words(tmp_path, COLUMNS)
    for columns in (COLUMNS + 1, COLUMNS):
        with pytest.raises(FileExistsError, match='holds other words than these'):
            words(tmp_path, columns)
        replace(text, synonyms=()).save(str(tmp_path / 'text.npz'))


def test_authors_words_without_annotations(tmp_path):
    """1203 columns; MMDetection knows the names, the mask which are rare."""
    columns = np.random.default_rng(4).normal(size=(8, 1203)).astype(np.float32)
    mask = np.ones(1204, np.float32)
    mask[[1, 1203]] = 0
    text = words(tmp_path, columns, mask, 'LVISV1Dataset')
    assert text.names == LVISV1Dataset.METAINFO['classes']
    assert np.flatnonzero(text.novel).tolist() == [0, 1202] and text.synonyms == ()


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
def test_wrong_authors_words(tmp_path, columns, mask, message):
    with pytest.raises(ValueError, match=message):
        words(tmp_path, columns, mask)
    assert not (tmp_path / 'text.npz').exists()


def test_authors_words_of_categories_in_another_order(tmp_path):
    file = write_categories(tmp_path / 'other.json')
    categories = json.loads(file.read_text())['categories'][::-1]
    file.write_text(json.dumps(dict(categories=categories)))
    with pytest.raises(ValueError, match='do not have the ids 1 to 5 in this order'):
        words(tmp_path, COLUMNS, categories=file)
