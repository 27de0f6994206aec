"""The segmentor under mmdet's own tools, and what it is refused with."""

import subprocess
import sys
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from hash_teacher import HashTeacher
from mmdet.apis import DetInferencer
from mmengine.config import Config
from small_segmentor import CLASSES, SIZE, WIDTH, built, gkc_config, segment_batch, write_words

from mmdet_vild.models import GKC

pytestmark = pytest.mark.onedl


@pytest.fixture(scope='module')
def path(tmp_path_factory) -> str:
    return write_words(str(tmp_path_factory.mktemp('words') / 'words.npz'))


@pytest.fixture
def config(path) -> Config:
    model = gkc_config(path)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(SIZE, SIZE), keep_ratio=True),
        dict(type='PackDetInputs', meta_keys=('img_path', 'ori_shape', 'img_shape',
                                              'scale_factor', 'text', 'custom_entities')),
    ]  # fmt: skip
    return Config(
        dict(
            default_scope='mmdet',
            model=model,
            test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=pipeline)),
            visualizer=dict(type='OpenVocabularyVisualizer'),
        )
    )


def test_inferencer(config, tmp_path):
    """Maps and instances of the original size, of its own words and of words that are asked for."""
    torch.save(dict(state_dict=built(config.model).state_dict(), meta={}), tmp_path / 'a.pth')
    inferencer = DetInferencer(config, str(tmp_path / 'a.pth'), device='cpu', show_progress=False)
    image = np.random.default_rng(0).integers(0, 255, (48, 60, 3)).astype(np.uint8)
    how = dict(return_datasamples=True, return_vis=True, no_save_pred=True)
    whole = inferencer(image, **how)
    found = whole['predictions'][0].pred_sem_seg
    assert found.sem_seg.shape == (1, 48, 60) and found.sem_seg.max() < CLASSES
    assert found.label_names == tuple(f'word {i}' for i in range(CLASSES))
    assert whole['visualization'][0].shape[0] == 48
    instances = whole['predictions'][0].pred_instances
    assert instances.masks.shape == (len(instances), 48, 60) and len(instances.label_names)
    label = int(found.sem_seg.mode().values.mode().values)
    texts = [f'word {label}']
    asked = inferencer(image, texts=[texts], custom_entities=True, **how)['predictions'][0]
    expected = torch.where(found.sem_seg == label, 0, 255)
    assert torch.equal(asked.pred_sem_seg.sem_seg, expected)
    assert asked.pred_sem_seg.label_names == tuple(texts)
    assert set(asked.pred_instances.label_names) == set(texts)
    assert 'words' not in asked.metainfo


def test_what_the_docs_show(config, tmp_path, monkeypatch):
    """Its block, on a small model: the map and its names, words that are asked for, files."""
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[3].joinpath('docs/gkc.md').read_text()
    code = page.split('```python\n')[1].split('```')[0]
    given = "DetInferencer('configs/gkc/gkc_r50-clip_8xb14-50k_coco-panoptic.py', 'gkc.pth')"
    assert code.count(given) == 1
    code = code.replace(given, "DetInferencer(CONFIG, 'gkc.pth', device='cpu')")
    image = np.random.default_rng(0).integers(0, 255, (48, 60, 3)).astype(np.uint8)
    mmcv.imwrite(image, 'street.jpg')
    torch.save(dict(state_dict=built(config.model).state_dict(), meta={}), 'gkc.pth')
    config.model.teacher = dict(type='HashTeacher', identity='teacher@0')
    variables = dict(CONFIG=config)
    exec(code, variables)
    found = variables['found'].pred_sem_seg
    assert found.sem_seg.shape == (1, 48, 60)
    assert found.label_names == tuple(f'word {i}' for i in range(CLASSES))
    assert HashTeacher.calls[-1] == ['kerb', 'tram']
    written = mmcv.imread('out/preds/street_sem_seg.png', flag='unchanged')
    np.testing.assert_array_equal(written, found.sem_seg[0])
    assert Path('out/vis/street.jpg').is_file()


def test_new_words_are_encoded_by_the_teacher(path):
    HashTeacher.calls = []
    config = gkc_config(path) | dict(
        type='GKC', teacher=dict(type='HashTeacher', identity='teacher@0')
    )
    config.test_cfg.with_vocabulary = False
    model = built(config).eval()
    batch = segment_batch(1)
    batch['data_samples'][0].set_metainfo(dict(text='zebra . word 1', custom_entities=True))
    with torch.no_grad():
        (sample,) = model.predict(**{'batch_inputs': batch['inputs'],
                                     'batch_data_samples': batch['data_samples']})  # fmt: skip
    assert HashTeacher.calls == [['zebra']] and WIDTH == 16
    assert sample.pred_sem_seg.label_names == ('zebra', 'word 1')
    assert sample.pred_sem_seg.novel.tolist() == [True, False]
    assert sample.pred_sem_seg.sem_seg.max() <= 1  # without rivals each pixel is one of these


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_mixed_precision(path, dtype):
    losses = dict(
        synonym_loss=dict(type='SynonymLoss', text_embeddings=path),
        distill_loss=dict(type='TextGuidedDistillLoss'),
    )
    model = built(gkc_config(path, **losses))
    batch = segment_batch(2, 1)
    with torch.autocast('cpu', dtype):
        total, _ = model.parse_losses(model(**batch, mode='loss'))
    total.backward()
    assert torch.isfinite(total) and total.dtype == torch.float32
    model.eval()
    with torch.no_grad(), torch.autocast('cpu', dtype):
        found = model.predict(batch['inputs'], batch['data_samples'])
    assert found[0].pred_sem_seg.sem_seg.shape == (1, SIZE, SIZE)


def test_inference_imports_no_open_clip(path):
    """Nor builds a teacher: its words are those of the file."""
    code = f"""
import sys
sys.path.insert(0, {str(__file__).rsplit('/models/', 1)[0] + '/helpers'!r})
from small_segmentor import built, gkc_config, segment_batch
config = gkc_config({path!r})
config.teacher = dict(type='OpenCLIPTeacher', model_name='RN50-quickgelu', pretrained='openai')
model = built(config).eval()
batch = segment_batch(1)
found = model.predict(batch['inputs'], batch['data_samples'])
assert found[0].pred_sem_seg is not None
assert 'open_clip' not in sys.modules, 'open_clip was imported'
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def change(config, part, **settings):
    config[part].update(settings)
    return config


@pytest.mark.parametrize(
    ('part', 'settings', 'message'),
    [
        ('panoptic_fusion_head', dict(type='MaskFormerFusionHead'), 'must be an OpenVocabulary'),
        ('panoptic_fusion_head', dict(num_stuff_classes=2), '5 categories and its .* 7'),
        ('test_cfg', dict(semantic_on=False, instance_on=False), 'finds nothing'),
        ('test_cfg', dict(max_per_image=0), 'max_per_image of test_cfg'),
    ],
)
def test_refuses_parts_that_do_not_fit(path, part, settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        built(change(gkc_config(path), part, **settings))


def test_refuses_another_head(path):
    config = gkc_config(path)
    config.panoptic_head.type = 'Mask2FormerHead'
    with pytest.raises(TypeError, match='no classifier|must be a GKCHead'):
        GKC(**{key: value for key, value in config.items() if key != 'type'})
