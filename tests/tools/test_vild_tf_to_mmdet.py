"""The converter of the authors' weights, on a narrow network with random ones."""

import copy
import re
import runpy
import sys
from pathlib import Path

import authors_network
import numpy as np
import pytest
import torch
from authors_network import CFG_OPTIONS, WIDTH, Reference, write_categories, write_npz
from mmdet.apis import DetInferencer
from mmdet.datasets import LVISV1Dataset
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm

from mmdet_vild import config_path
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl

TOOLS = Path(__file__).parents[2] / 'tools' / 'model_converters'
HEAD = 'frcnn_layer_0/fast_rcnn_head'


def config(method: str = 'vild_r50') -> str:
    return config_path(f'vild_official/{method}_fpn_tf_32xb8-lsj-180k_lvis-v1.py')


def convert(monkeypatch, source: Path, folder: Path, method: str = 'vild_r50', **options) -> Path:
    """Run the tool on a narrow config; returns the checkpoint."""
    categories = folder / 'annotations.json'
    if not categories.exists():
        write_categories(categories)
    words = 'model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings'
    options = CFG_OPTIONS | {words: folder / 'text.npz'} | options
    run(
        *(monkeypatch, 'vild_tf_to_mmdet.py', source, config(method), folder / 'new/out.pth'),
        *('--categories', categories, '--cfg-options'),
        *(f'{key}={value}'.replace(' ', '') for key, value in options.items()),
    )
    return folder / 'new/out.pth'


def run(monkeypatch, tool: str, *arguments: object) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
    runpy.run_path(str(TOOLS / tool), run_name='__main__')


def load(checkpoint: Path) -> tuple[torch.nn.Module, Config]:
    """The model of a checkpoint, by the config in it alone."""
    register_all_modules()
    state = torch.load(checkpoint, weights_only=True)
    cfg = Config.fromstring(state['meta']['cfg'], file_format='.py')
    model = revert_sync_batchnorm(MODELS.build(cfg.model))  # SyncBN needs a GPU
    missing, unexpected = model.load_state_dict(state['state_dict'], strict=False)
    assert not missing and not unexpected
    return model.eval(), cfg


@pytest.fixture(scope='module', params=[False, True], ids=['vild', 'vild-ensemble'])
def converted(request, tmp_path_factory) -> tuple[torch.nn.Module, Reference, bool, Path]:
    """A converted model, and the formulas on the same variables."""
    folder = tmp_path_factory.mktemp('converted')
    values = authors_network.variables(ensemble=request.param)
    method = 'vild-ensemble_r50' if request.param else 'vild_r50'
    with pytest.MonkeyPatch.context() as monkeypatch:
        path = convert(monkeypatch, write_npz(folder / 'source.npz', values), folder, method)
    return load(path)[0].double(), Reference(values), request.param, path


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
    boxes = torch.tensor(
        [
            [3.2, 1.1, 40.7, 60.3],
            [0, 0, 1023, 1023],
            [100, 50, 500.5, 600],
            [10, 10, 10.5, 300],
            [1023, 5, 1023, 80],
            [1023, 5, 1022.99, 80],
            [100, 20, 250, 230],
            [3, 3, 450, 451],
        ],
        dtype=torch.float64,
    )
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
    """A picture of 96 x 64 is normalised as theirs, then padded with zeros to 1024 x 1024."""
    model, _, _, _ = converted
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    sample = DetDataSample(metainfo=dict(img_shape=(64, 96), ori_shape=(64, 96)))
    batch = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]))
    (padded,) = batch['inputs']
    assert padded.shape == (3, 1024, 1024)
    assert not padded[:, 64:].any() and not padded[..., 96:].any()
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    close(padded[:, :64, :96], (image.flip(0) / 255 - mean) / std)  # RGB on a 0-1 scale


def test_checkpoint(converted):
    """MMDetection's inferencer needs nothing but the checkpoint, which is safe to load."""
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


def test_resnet_152(tmp_path, monkeypatch):
    values = authors_network.variables(152)
    path = convert(monkeypatch, write_npz(tmp_path / 'a.npz', values), tmp_path, 'vild_r152')
    model, _ = load(path)
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        found = model.double().backbone(image)
    for level, expected in zip(found, Reference(values).backbone(image, 152), strict=True):
        close(level, expected)


SLOTS = {f'{HEAD}/conv_0/kernel/Momentum': np.zeros(3), 'global_step': np.array(180000)}


def test_drops_what_only_training_needs(tmp_path, monkeypatch, capsys):
    values = authors_network.variables() | SLOTS
    convert(monkeypatch, write_npz(tmp_path / 'a.npz', values), tmp_path)
    out = capsys.readouterr().out
    assert f'dropped: {", ".join(sorted(SLOTS))}' in out
    assert f'{len(values) - len(SLOTS) - 1} variables' in out  # the words go elsewhere


@pytest.mark.parametrize(
    'change, method, message',
    [
        (lambda v: v.pop('fpn/p6/bias'), 'vild_r50', 'no variable fpn/p6/bias, which becomes'),
        (lambda v: v.update({'fpn/l7/kernel': np.zeros(2)}), 'vild_r50', "['fpn/l7/kernel']"),
        (
            lambda v: v.update({'rpn_head/rpn-box/bias': np.zeros(8)}),
            'vild_r50',
            'rpn_head/rpn-box/bias has the shape (8,)',
        ),
        (
            lambda v: v.update({f'{HEAD}/fc6/kernel': np.zeros((7 * 7 * 8, 13), np.float32)}),
            'vild_r50',
            f'{HEAD}/fc6/kernel has the shape (392, 13), which is not that of',
        ),
        (lambda v: None, 'vild-ensemble_r50', 'is it that of another config'),
        (lambda v: None, 'vild_r152', 'is it that of another config'),
        (lambda v: v.pop(f'{HEAD}/class-predict/kernel'), 'vild_r50', 'it is not one of ViLD'),
        (
            lambda v: v.update({f'{HEAD}/class-predict/kernel': np.zeros((6, 4))}),
            'vild_r50',
            'expected (width, 5), a column for each category',
        ),
    ],
)
def test_refuses(tmp_path, monkeypatch, change, method, message):
    """With the name of the variable, and nothing written."""
    values = authors_network.variables()
    change(values)
    source = write_npz(tmp_path / 'a.npz', values)
    with pytest.raises(ValueError, match=re.escape(message)):
        convert(monkeypatch, source, tmp_path, method)
    assert not list(tmp_path.glob('new/*')) and not (tmp_path / 'text.npz').exists()


def test_ensemble_for_the_config_of_vild(tmp_path, monkeypatch):
    source = write_npz(tmp_path / 'a.npz', authors_network.variables(ensemble=True))
    with pytest.raises(ValueError, match='variables that the config has no place for.*distill_fc6'):
        convert(monkeypatch, source, tmp_path)


def test_keeps_the_words_of_others(tmp_path, monkeypatch):
    """Once more is fine; another file at the place of the words is not overwritten."""
    values = authors_network.variables()
    source = write_npz(tmp_path / 'a.npz', values)
    first = convert(monkeypatch, source, tmp_path).read_bytes()
    convert(monkeypatch, source, tmp_path)
    names = tuple('abcde')
    TextEmbeddings(np.eye(5), names, np.zeros(5, bool), 'other').save(str(tmp_path / 'text.npz'))
    with pytest.raises(FileExistsError, match='holds other words than the checkpoint'):
        convert(monkeypatch, source, tmp_path)
    assert TextEmbeddings.load(str(tmp_path / 'text.npz')).names == names
    assert (tmp_path / 'new/out.pth').read_bytes()[:4] == first[:4]


class TestAuthorsWords:
    """``clip_synonym_prompt.npy`` and ``lvis_rare_masks.npy`` as they are."""

    COLUMNS = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32)
    MASK = np.array([1, 1, 0, 1, 0, 1], np.float32)

    def words(self, monkeypatch, folder: Path, columns, mask=None, **categories):
        np.save(folder / 'clip_synonym_prompt.npy', columns)
        arguments = [folder / 'clip_synonym_prompt.npy', folder / 'text.npz']
        arguments += ['--categories', write_categories(folder / 'annotations.json', **categories)]
        if mask is not None:
            np.save(folder / 'lvis_rare_masks.npy', mask)
            arguments += ['--rare-mask', folder / 'lvis_rare_masks.npy']
        run(monkeypatch, 'authors_words.py', *arguments)
        return TextEmbeddings.load(str(folder / 'text.npz'))

    @pytest.mark.parametrize('novel', [(1, 3), ()])
    def test_reads(self, tmp_path, monkeypatch, novel):
        text = self.words(monkeypatch, tmp_path, self.COLUMNS, self.MASK, novel=novel)
        np.testing.assert_array_equal(text.embeddings, self.COLUMNS.T)
        assert text.names[4] == 'category 4'
        assert text.novel.tolist() == [False, True, False, True, False]

    def test_without_a_mask(self, tmp_path, monkeypatch):
        assert self.words(monkeypatch, tmp_path, self.COLUMNS, novel=(0,)).novel[0]
        with pytest.raises(ValueError, match='no category of .* is novel'):
            self.words(monkeypatch, tmp_path, self.COLUMNS, novel=())

    def test_of_lvis_without_its_annotations(self, tmp_path, monkeypatch):
        """1203 columns; MMDetection knows the names, the mask which are rare."""
        columns = np.random.default_rng(4).normal(size=(8, 1203)).astype(np.float32)
        mask = np.ones(1204, np.float32)
        mask[[1, 1203]] = 0
        np.save(tmp_path / 'clip_synonym_prompt.npy', columns)
        np.save(tmp_path / 'lvis_rare_masks.npy', mask)
        run(
            *(monkeypatch, 'authors_words.py', tmp_path / 'clip_synonym_prompt.npy'),
            *(tmp_path / 'text.npz', '--categories', 'LVISV1Dataset'),
            *('--rare-mask', tmp_path / 'lvis_rare_masks.npy'),
        )
        text = TextEmbeddings.load(str(tmp_path / 'text.npz'))
        assert text.names == LVISV1Dataset.METAINFO['classes']
        assert np.flatnonzero(text.novel).tolist() == [0, 1202]

    @pytest.mark.parametrize(
        'columns, mask, message',
        [
            (COLUMNS.T, None, r'has the shape \(5, 6\); expected \(width, 5\)'),
            (COLUMNS, MASK[1:], r'has the shape \(5,\) .* expected \(6,\)'),
            (COLUMNS, MASK * 2, 'values from 0.0 to 2.0'),
            (COLUMNS, MASK[::-1], 'differ on 4 categories'),
        ],
    )
    def test_refuses(self, tmp_path, monkeypatch, columns, mask, message):
        with pytest.raises(ValueError, match=message):
            self.words(monkeypatch, tmp_path, columns, mask)
        assert not (tmp_path / 'text.npz').exists()
