"""The exported graphs find what PyTorch finds."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from small_detector import SmallDetector

from mmdet_vild.models.detectors import onnx_vild
from mmdet_vild.models.detectors.onnx_vild import check_exportable, pool
from mmdet_vild.models.words import Words

pytestmark = pytest.mark.onedl

TWICE = dict(type='Resize', scale=(200, 160), keep_ratio=True)
LARGE = dict(type='Resize', scale=(330, 260), keep_ratio=True)


@pytest.fixture(scope='module', params=['vild-ensemble', 'vild-plus', 'vild-all'])
def detector(request, tmp_path_factory: pytest.TempPathFactory) -> SmallDetector:
    """Of softmaxes, perhaps with IoUs and objectness, or of sigmoids and IoUs."""
    detector = SmallDetector(tmp_path_factory.mktemp('onnx'), request.param)
    spread_out(detector.model)
    return detector


def spread_out(model) -> None:
    """Weights with which scores and boxes are not all alike."""
    generator = torch.Generator().manual_seed(0)
    parts = ('rpn_cls', 'rpn_reg', 'fc_cls.projection', 'fc_reg', 'fc_iou')
    for name, parameter in model.named_parameters():
        if any(part in name for part in parts):
            spread = 0.05 if 'reg' in name else 0.5
            parameter.data.normal_(std=spread, generator=generator)


def tolerance(detector: SmallDetector) -> float:
    """By which scores may differ: a softmax's by 1e-4, a sigmoid's by 1e-3."""
    return 1e-4 if detector.model.text_classifier.bias is None else 1e-3


@pytest.fixture(scope='module')
def graphs(detector: SmallDetector, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder that the detector is exported to."""
    from vild_to_onnx import export

    folder = tmp_path_factory.mktemp('graphs')
    export(detector.model, folder)
    return str(folder)


@pytest.fixture(scope='module')
def exported(detector: SmallDetector, graphs: str):
    """The detector of the graphs, of other weights in PyTorch."""
    model = detector.build(type='ONNXViLD', onnx=graphs)
    for parameter in model.parameters():
        parameter.data.fill_(torch.nan)
    return model


@pytest.mark.onnx
@pytest.mark.parametrize('resize', [TWICE, LARGE], ids=['twice', 'large'])
@pytest.mark.parametrize('words', [None, ['owl', 'blue ring', 'tow truck']])
def test_finds_what_pytorch_finds(detector: SmallDetector, exported, resize, words) -> None:
    """Boxes to a hundredth of a pixel, scores as above, masks but for a thousandth of them."""
    most = tolerance(detector)
    asked = {} if words is None else dict(text=words)
    expected, found = (
        detector.predict(detector.sample(resize, **asked), model).pred_instances
        for model in (detector.model, exported)
    )
    assert len(found) == len(expected) > 20 and expected.scores.max() > 0.1
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=most)
    for i in range(len(expected)):  # those of nearly equal scores may come in another order
        distances = (found.bboxes - expected.bboxes[i]).abs().amax(dim=1)
        distances[found.labels != expected.labels[i]] = torch.inf
        j = distances.argmin()
        assert distances[j] < 1e-2 and abs(found.scores[j] - expected.scores[i]) < most
        assert (found.masks[j] != expected.masks[i]).float().mean() < 1e-3
    names = {'owl', 'blue ring', 'tow truck'} if words else set(detector.text.names)
    assert set(found.label_names) <= names


@pytest.mark.onnx
def test_a_batch(detector: SmallDetector, exported) -> None:
    """Of two pictures of different sizes."""
    check_batch(detector, exported, detector.model)


@torch.no_grad()
def check_batch(detector: SmallDetector, exported, model) -> None:
    batches = [detector.batch(TWICE, LARGE) for _ in range(2)]  # a detector changes its own
    found, expected = (
        each.predict(batch['inputs'], batch['data_samples'])
        for each, batch in zip((exported, model), batches, strict=True)
    )
    for one, other in zip(found, expected, strict=True):
        one, other = one.pred_instances, other.pred_instances
        assert len(one) == len(other) > 20
        torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=tolerance(detector))
        distances = torch.cdist(one.bboxes, other.bboxes, p=torch.inf)
        assert distances.amin(dim=1).max() < 1e-2 and ('masks' in one) == ('masks' in other)


@pytest.mark.onnx
@pytest.mark.parametrize('with_masks', [True, False])
def test_a_backbone_that_counts_its_windows(tmp_path, with_masks) -> None:
    """Swin, whose number of pictures tracing makes a constant; and without masks."""
    from vild_to_onnx import export

    detector = SmallDetector(tmp_path, 'vild-ensemble')
    model = detector.config.model
    model.backbone = dict(
        type='SwinTransformer', embed_dims=24, depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 4]
    )
    model.neck.in_channels = [24, 48, 96, 192]
    if not with_masks:
        model.roi_head.update(mask_head=None, mask_roi_extractor=None)
    built = detector.build()
    spread_out(built)
    export(built, tmp_path / 'graphs')
    assert (tmp_path / 'graphs' / 'masks.onnx').is_file() == with_masks
    exported = detector.build(type='ONNXViLD', onnx=str(tmp_path / 'graphs'))
    check_batch(detector, exported, built)


@pytest.mark.onnx
def test_graphs_of_another_detector_are_refused(detector, graphs, tmp_path) -> None:
    """They would take other words, or scores, for what was trained."""

    def build(**classifier) -> None:
        head = dict(bbox_head=dict(cls_predictor_cfg=classifier))
        detector.build(type='ONNXViLD', onnx=graphs, teacher=None, roi_head=head)

    build()
    other = str(tmp_path / 'other.npz')
    replace(detector.text, teacher='other@1').save(other)
    for changes, message in (
        (dict(text_embeddings=other), 'the teacher is mini-clip@.*, and of the config other@1'),
        (dict(temperature=0.5), 'the temperature is 0.0.*, and of the config 0.5'),
    ):
        with pytest.raises(ValueError, match=f'graphs in .* {message}; export the detector again'):
            build(**changes)


@pytest.mark.onnx
def test_the_providers(detector: SmallDetector, graphs, monkeypatch) -> None:
    import onnxruntime

    taken, session = [], onnxruntime.InferenceSession
    record = lambda path, providers: taken.append(providers) or session(path)  # noqa: E731
    monkeypatch.setattr(onnxruntime, 'InferenceSession', record)
    detector.build(type='ONNXViLD', onnx=graphs, providers=('One', 'Two'))
    assert taken == [['One', 'Two']] * 3


@pytest.mark.onnx
def test_a_graph_that_is_not_there(detector: SmallDetector, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match='there is no ONNX graph at .*features.onnx'):
        detector.build(type='ONNXViLD', onnx=str(tmp_path))


def test_without_onnxruntime(detector: SmallDetector, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match=r'pip install "mmdet_vild\[onnx\]"'):
        detector.build(type='ONNXViLD', onnx=str(tmp_path))


def test_pools_what_mmdet_pools(detector: SmallDetector) -> None:
    """RoIs of all levels; the graphs have no branch that depends on which levels are used."""
    extractor = detector.model.roi_head.bbox_roi_extractor
    maps = [(extractor.out_channels, 512 // stride) for stride in (*extractor.featmap_strides, 64)]
    features = [torch.randn(2, channels, side, side) for channels, side in maps]
    sides = torch.tensor([10.0, 50, 80, 130, 300, 480])
    rois = torch.stack([torch.arange(6) % 2, sides / 50, sides / 40, sides, sides], dim=1)
    levels = extractor.num_inputs
    expected = extractor(features[:levels], rois)
    assert len(set(extractor.map_roi_levels(rois, levels).tolist())) > 2
    torch.testing.assert_close(pool(extractor, features, rois), expected)


@pytest.mark.parametrize(
    'name',
    ['rpn_head', 'roi_head', 'bbox_head', 'bbox_roi_extractor', 'mask_roi_extractor', 'mask_head'],
)
def test_a_part_of_another_kind_is_refused(detector: SmallDetector, monkeypatch, name) -> None:
    """By its name: it may compute something else."""
    check_exportable(detector.model)
    part = getattr(detector.model, name, None) or getattr(detector.model.roi_head, name)
    monkeypatch.setattr(part, '__class__', type('Other', (type(part),), {}))
    with pytest.raises(ValueError, match=f'{name} is a Other, which is not exported to ONNX'):
        check_exportable(detector.model)


def test_what_else_is_refused(detector: SmallDetector, monkeypatch) -> None:
    with pytest.raises(ValueError, match='the detector is a CLIPOnCrops, which is not exported'):
        check_exportable(detector.build(type='CLIPOnCrops'))
    monkeypatch.setattr(detector.model.text_classifier, 'synonyms', 'max')
    with pytest.raises(ValueError, match="synonyms='max'.*not exported to ONNX"):
        check_exportable(detector.model)
    monkeypatch.undo()
    layer = detector.model.roi_head.mask_roi_extractor.roi_layers[1]
    monkeypatch.setattr(layer, 'pool_mode', 'max')
    with pytest.raises(ValueError, match='mask_roi_extractor has a RoIAlign, .* pool_mode='):
        check_exportable(detector.model)
    monkeypatch.undo()
    monkeypatch.setattr(type(detector.model.roi_head), 'with_shared_head', True)
    with pytest.raises(ValueError, match='roi_head has a shared_head, which is not exported'):
        check_exportable(detector.model)
    monkeypatch.undo()
    monkeypatch.setattr(detector.model.text_classifier, 'text_embeddings_file', None)
    with pytest.raises(ValueError, match='the vocabulary is in the checkpoint, where'):
        check_exportable(detector.model)


def test_pictures_in_place_of_words_are_refused(detector: SmallDetector, monkeypatch) -> None:
    """Their scores are made of the embeddings, which no graph returns."""
    monkeypatch.setattr(onnx_vild, '_session', lambda *args: None)
    monkeypatch.setattr(onnx_vild, 'read_kind', lambda session: onnx_vild.kind(detector.model))
    model = detector.build(type='ONNXViLD', onnx='none')
    novel = torch.ones(1, dtype=torch.bool)
    words = Words(('mug.png',), torch.ones(1, 4), novel, 1, pictures=novel)
    data = detector.sample()
    data['data_samples'][0].set_metainfo(dict(words=words))
    with pytest.raises(ValueError, match='pictures in place of words are not exported'):
        model.detect(data['inputs'], data['data_samples'])
    monkeypatch.setattr(detector.model.text_classifier, 'pictures', novel)
    with pytest.raises(ValueError, match='pictures in place of words are not exported'):
        check_exportable(detector.model)


def test_the_tool_without_onnx(monkeypatch, capsys) -> None:
    """Before it loads anything."""
    import vild_to_onnx

    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(SystemExit):
        vild_to_onnx.main(['none.py', 'none.pth', '--out', 'none'])
    assert 'onnx is not installed; pip install "mmdet_vild[onnx]"' in capsys.readouterr().err


@pytest.mark.onnx
def test_the_tool(detector: SmallDetector, monkeypatch, tmp_path) -> None:
    """Its folder may be moved, as its config finds the graphs; another's checkpoint is refused."""
    import vild_to_onnx

    written = []
    monkeypatch.setattr(vild_to_onnx, 'export', lambda model, out: written.append(model))
    config, checkpoint = str(tmp_path / 'vild.py'), str(tmp_path / 'vild.pth')
    detector.config.dump(config)
    torch.save(dict(state_dict=detector.model.state_dict()), checkpoint)
    (tmp_path / 'out').mkdir()
    vild_to_onnx.main([config, checkpoint, '--out', str(tmp_path / 'out')])
    (model,), state = written, detector.model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    (tmp_path / 'out').rename(tmp_path / 'moved')
    found = Config.fromfile(str(tmp_path / 'moved' / 'config.py'))
    assert Path(found.model.onnx) == tmp_path / 'moved' and found.model.type == 'ONNXViLD'
    torch.save(dict(state_dict={'neck.weight': torch.ones(1)}), checkpoint)
    with pytest.raises(ValueError, match='a checkpoint of another network'):
        vild_to_onnx.main([config, checkpoint, '--out', str(tmp_path / 'again')])
    assert len(written) == 1
