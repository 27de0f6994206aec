"""The mini world's teacher: its crops, captions, batches and training."""

import json
from pathlib import Path

import concepts
import crops
import numpy as np
import open_clip
import pytest
import torch
import train_teacher
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_vild.teacher import OpenCLIPTeacher

TOOLS = Path(__file__).parents[2] / 'tools' / 'mini_lvis'

CATEGORIES = concepts.complete_categories(
    [
        {'name': 'red circle', 'frequency': 'f'},
        {'name': 'blue ring', 'frequency': 'c'},
        {'name': 'red heart', 'frequency': 'r', 'synonyms': ['scarlet heart']},
    ]
)
LISTED = [concepts.parse_name(c['name']) for c in CATEGORIES]
TINY = {'scenes': 6, 'steps': 4, 'batch_size': 12, 'held_out': 1}


@pytest.fixture(scope='module')
def pictures():
    return crops.render_crops(0, LISTED, 6, 48, workers=1)


@pytest.fixture(scope='module')
def batches(pictures):
    tokenizer = open_clip.SimpleTokenizer(context_length=20)
    return train_teacher.Batches(0, *pictures, CATEGORIES, tokenizer)


def contained(window: np.ndarray, box: np.ndarray) -> float:
    """The part of a box that a window shows."""
    overlap = np.minimum(window[2:], box[2:]) - np.maximum(window[:2], box[:2])
    return np.clip(overlap, 0, None).prod() / (box[2:] - box[:2]).prod()


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(list(train_teacher.KIND_WEIGHTS)))
def test_windows_show_what_their_captions_say(seed, kind):
    rng = np.random.default_rng(seed)
    size = rng.uniform(14, 90, 2)
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


def test_captions_name_the_object_and_how_it_is_framed():
    key = crops.Key(concepts.parse_name('orange star'), 'whole')
    assert 'a photo of an orange star.' in train_teacher.captions(key, ['orange star'])
    assert len(train_teacher.captions(key, ['orange star', 'amber star'])) == 2 * 63
    key = crops.Key(concepts.parse_name('orange star'), 'part')
    texts = train_teacher.captions(key, ['orange star'])
    assert 'part of an orange star.' in texts
    whole = {
        kind: train_teacher.captions(crops.Key(key.concept, kind), ['x'])
        for kind in ('whole', 'far')
    }
    assert not set(train_teacher.captions(key, ['x'])) & {*whole['whole'], *whole['far']}
    assert 'the background.' in train_teacher.captions(crops.Key(None, 'background'), [])


def test_pictures_do_not_depend_on_the_number_of_workers(pictures):
    keys, images = crops.render_crops(0, LISTED, 6, 48, workers=2)
    assert keys == pictures[0]
    np.testing.assert_array_equal(images, pictures[1])
    assert images.shape == (len(keys), 48, 48, 3) and images.dtype == np.uint8
    other, _ = crops.render_crops(1, LISTED, 6, 48, workers=1)
    assert other != keys


def test_pictures_show_the_list_and_the_library(pictures):
    shown = {key.concept for key in pictures[0]}
    assert set(LISTED) < shown


def test_no_two_captions_of_a_batch_are_alike(batches):
    for step in range(20):
        images, tokens = batches(step, 16)
        assert images.shape == (16, 3, 48, 48) and tokens.shape == (16, 20)
        assert len({tuple(row) for row in tokens.tolist()}) == 16
        again = batches(step, 16)
        assert torch.equal(images, again[0]) and torch.equal(tokens, again[1])


def test_synonyms_are_in_the_captions(batches):
    scarlet = open_clip.SimpleTokenizer()('scarlet')[0, 1]
    assert any((tokens == scarlet).any() for tokens in batches.tokens)


def test_no_prompt_is_cut_off():
    """The longest prompt fits the text tower's context."""
    key = crops.Key(concepts.parse_name('checkered orange horseshoe'), 'whole')
    names = [c.name for c in map(concepts.parse_name, ['checkered orange horseshoe'])]
    length = train_teacher.build_model(0).context_length
    tokens = open_clip.SimpleTokenizer(context_length=77)(train_teacher.captions(key, names))
    assert (tokens != 0).sum(1).max() <= length


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp('teacher') / 'mini_clip.pt'
    learned = train_teacher.make_teacher(CATEGORIES, out, **TINY)
    return out, learned


def test_the_teacher_is_a_plain_open_clip_model(trained):
    out, learned = trained
    state = torch.load(out, weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    model = open_clip.create_model('mini-clip', pretrained=str(out))
    assert torch.equal(model.token_embedding.weight, state['token_embedding.weight'])
    teacher = OpenCLIPTeacher('mini-clip', str(out))
    assert teacher.embed_dims == 64
    assert learned['logit_scale'] == pytest.approx(1 / teacher.temperature, abs=0.01)
    assert set(learned) == {'base', 'novel', 'framing', 'logit_scale'}
    assert sorted(p.name for p in out.parent.iterdir()) == ['mini_clip.json', 'mini_clip.pt']


def test_a_finished_teacher_is_left_alone_and_another_refused(trained, tmp_path, capsys):
    out, learned = trained
    before = out.stat().st_mtime_ns
    assert train_teacher.make_teacher(CATEGORIES, out, **TINY) == learned
    categories = tmp_path / 'categories.json'
    categories.write_text(json.dumps(CATEGORIES))
    options = [f'--{k.replace("_", "-")}={v}' for k, v in TINY.items()]
    train_teacher.main([f'--categories={categories}', f'--out={out}', *options])
    assert f'logit scale {learned["logit_scale"]}' in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r'other arguments \(seed differ\). Delete it'):
        train_teacher.main([f'--categories={categories}', f'--out={out}', '--seed=1', *options])
    assert out.stat().st_mtime_ns == before


class Interrupted(Exception):
    """Stands for a kill."""


def test_an_interrupted_training_goes_on_to_the_same_weights(trained, tmp_path, monkeypatch):
    out = tmp_path / 'mini_clip.pt'
    draw = train_teacher.Batches.__call__

    def interrupted(self, step, size):
        if step == 2:
            raise Interrupted
        return draw(self, step, size)

    monkeypatch.setattr(train_teacher, 'CHECKPOINT_SECONDS', 0)
    monkeypatch.setattr(train_teacher.Batches, '__call__', interrupted)
    with pytest.raises(Interrupted):
        train_teacher.make_teacher(CATEGORIES, out, **TINY)
    assert torch.load(out.with_suffix('.ckpt'), weights_only=True)['step'] == 2
    steps = []

    def counted(self, step, size):
        steps.append(step)
        return draw(self, step, size)

    monkeypatch.setattr(train_teacher.Batches, '__call__', counted)
    train_teacher.make_teacher(CATEGORIES, out, **TINY)
    assert steps == [2, 3]
    expected = torch.load(trained[0], weights_only=True)
    for name, value in torch.load(out, weights_only=True).items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_a_trained_model_is_not_trained_again_to_be_tested(tmp_path, monkeypatch):
    out = tmp_path / 'mini_clip.pt'

    def fail(*args):
        raise Interrupted

    monkeypatch.setattr(train_teacher, 'evaluate', fail)
    with pytest.raises(Interrupted):
        train_teacher.make_teacher(CATEGORIES, out, **TINY)
    monkeypatch.undo()
    monkeypatch.setattr(train_teacher, 'train', fail)
    train_teacher.make_teacher(CATEGORIES, out, **TINY)


def test_batches_can_be_learned(batches, tmp_path):
    """Two dozen steps on few pictures lower the loss well below that of guessing."""
    model = train_teacher.build_model(0)
    arguments = {'steps': 24, 'lr': 2e-3, 'batch_size': 12}
    train_teacher.train(model, batches, arguments, tmp_path / 'c.ckpt', None)
    images, tokens = batches(0, 12)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    model.train()  # few steps do not settle the running statistics
    with torch.no_grad():
        loss = open_clip.ClipLoss()(*model((images.float() / 255 - mean) / std, tokens))
    assert loss < 0.7 * np.log(12)


@pytest.mark.parametrize('option', ['--steps=0', '--batch-size=0', '--lr=-1', '--scenes=0'])
def test_bad_arguments_are_refused(tmp_path, option):
    with pytest.raises(SystemExit, match=f'{option.split("=")[0]} must be positive'):
        train_teacher.main([f'--out={tmp_path / "x.pt"}', option])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(0.8, 1.0), (0.3, 0.5)]))
def test_jittered_boxes_overlap_as_asked(seed, limits):
    from torchvision.ops import box_iou

    box = np.array([50.0, 60.0, 90.0, 130.0])
    other = train_teacher.jittered_box(np.random.default_rng(seed), box, *limits)
    iou = box_iou(torch.from_numpy(box)[None], torch.from_numpy(other)[None]).item()
    assert limits[0] - 1e-6 <= iou <= limits[1] + 1e-6
