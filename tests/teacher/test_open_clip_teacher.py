"""The teacher against open_clip and PIL used by hand."""

import math

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import normalize

from mmdet_vild.teacher import OpenCLIPTeacher, crop_windows
from mmdet_vild.vocabulary import VILD_TEMPLATES, load_categories, parse_words

pytestmark = pytest.mark.onedl


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> str:
    """Random weights of the mini teacher in a file."""
    torch.manual_seed(0)
    model = OpenCLIPTeacher('mini-clip').model
    path = str(tmp_path_factory.mktemp('weights') / 'teacher.pt')
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope='module')
def teacher(weights) -> OpenCLIPTeacher:
    return OpenCLIPTeacher('mini-clip', weights, batch_size=7)


def picture(height: int = 90, width: int = 120) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return np.array(coarse.resize((width, height), Image.BICUBIC))


def test_crops_agree_with_pil_and_open_clip(teacher):
    """The authors' recipe, crop by crop with PIL; the largest difference is in resizing."""
    image = picture()
    boxes = np.array([[10.3, 5.2, 50.9, 60.1], [0, 0, 120, 90], [100, 70, 140, 95], [5, 5, 6, 6]])
    found = teacher.encode_crops(image, boxes)
    rgb = Image.fromarray(image[..., ::-1])
    mean, std = np.array(open_clip.OPENAI_DATASET_MEAN), np.array(open_clip.OPENAI_DATASET_STD)
    for box, embedding in zip(boxes, found, strict=True):
        total = 0
        for scale in (1.0, 1.5):
            centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * scale
            start, end = np.floor(centre - half), np.ceil(centre + half)
            window = [*map(int, np.maximum(start, 0)), *map(int, np.minimum(end, [120, 90]))]
            crop = rgb.crop(window).resize(teacher.input_size[::-1], Image.BICUBIC)
            pixels = (np.array(crop) / 255 - mean) / std
            pixels = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
            with torch.no_grad():
                total = total + teacher.model.encode_image(pixels)
        cosine = torch.nn.functional.cosine_similarity(total[0], embedding, dim=0)
        assert cosine > 0.999
        assert embedding.norm().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ('size', 'device', 'most'), [(7, 'cpu', 7), (None, 'cpu', 40), (None, 'cuda', 256)]
)
@pytest.mark.parametrize('count', [0, 1, 7, 8, 40, 41, 72, 600])
def test_batches(teacher, monkeypatch, size, device, most, count):
    """Each in its turn, as few as can be, and none much smaller than another."""
    monkeypatch.setattr(teacher, 'batch_size', size)
    monkeypatch.setattr(teacher, 'device', torch.device(device))
    parts = [list(range(count))[part] for part in teacher.batches(count)]
    assert sum(parts, []) == list(range(count))
    assert len(parts) == math.ceil(count / most)
    sizes = list(map(len, parts)) or [0]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= most


@pytest.mark.parametrize('mode', ['squash', 'centre_crop'])
def test_the_callers_autocast_changes_nothing(weights, mode):
    """Neither of texts nor of regions, one of which is so thin that it is resized by products."""
    teacher = OpenCLIPTeacher('mini-clip', weights, crop_mode=mode)
    boxes = np.array([[10, 5, 51, 60], [0, 9, 120, 10]])
    found = []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            found.append((teacher.encode_texts(['a cat']), teacher.encode_crops(picture(), boxes)))
    for one, other in zip(*found, strict=True):
        assert one.dtype == torch.float32 and torch.equal(one, other)


@given(
    st.lists(st.tuples(*[st.floats(-50, 150)] * 4), min_size=1, max_size=5),
    st.floats(1, 2),
    st.integers(1, 100),
    st.integers(1, 100),
)
def test_windows_lie_in_the_image_and_cover_the_box(boxes, scale, height, width):
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes]
    windows = crop_windows(torch.tensor(boxes, dtype=torch.float64), scale, (height, width))
    for (x1, y1, x2, y2), (left, top, right, bottom) in zip(boxes, windows.tolist(), strict=True):
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        if x1 >= 0 and x2 <= width and x1 < x2:
            assert left <= x1 and right >= x2
        if y1 >= 0 and y2 <= height and y1 < y2:
            assert top <= y1 and bottom >= y2


def test_vocabulary(teacher):
    """Templates, then synonyms, by hand."""
    categories = [
        dict(name='red_heart', synonyms=['red_heart', 'crimson heart'], frequency='r'),
        dict(name='apple', synonyms=['apple'], frequency='f'),
    ]
    text = teacher.encode_categories(categories)
    assert text.names == ('red_heart', 'apple')
    assert text.novel.tolist() == [True, False]
    assert text.teacher == teacher.identity

    def encode(name: str, article: str) -> torch.Tensor:
        prompts = [t.replace('{article}', article).replace('{}', name) for t in VILD_TEMPLATES]
        with torch.no_grad():
            embeddings = teacher.model.encode_text(teacher.tokenizer(prompts))
        return normalize(normalize(embeddings, dim=1).mean(0), dim=0)

    heart = normalize(encode('red heart', 'a') + encode('crimson heart', 'a'), dim=0)
    expected = torch.stack([heart, encode('apple', 'an')])
    torch.testing.assert_close(torch.from_numpy(text.embeddings), expected, rtol=0, atol=1e-5)


def test_texts_beyond_the_context_are_refused(teacher):
    """The mini teacher reads 20 tokens, of which two mark the start and the end."""
    fits = ' '.join(['circle'] * 18)
    assert teacher.encode_texts(['a', fits]).shape == (2, teacher.embed_dims)
    for count in (19, 50):
        text = ' '.join(['circle'] * count)
        message = f"^'{text}' has {count + 2} tokens, more than the 20 tokens that mini-clip reads"
        with pytest.raises(ValueError, match=message):
            teacher.encode_texts([fits, text])

    # Named without their prompts. 12 words, 8 of the prompt, a full stop, and both marks.
    words = [dict(name='x', synonyms=[s], frequency=None) for s in ('cat', 'big_cat ' * 6)]
    message = f"^a prompt of '{'big_cat ' * 6}' has 23 tokens, more than the 20 tokens that mini-c"
    with pytest.raises(ValueError, match=message):
        teacher.encode_categories(words, ['{}', 'there is one {} in a very dark scene.', 'a {}'])


def test_what_pads_a_text_may_be_any_token(teacher, monkeypatch):
    """Some tokenizers pad with 1, and put a token at the very end."""

    def tokenize(texts: list[str], length: int = 20) -> torch.Tensor:
        rows = [[7] * min(len(text.split()), length - 1) for text in texts]
        return torch.tensor([row + [1] * (length - 1 - len(row)) + [9] for row in rows])

    tokenize.context_length = 20
    monkeypatch.setattr(teacher, 'tokenizer', tokenize)
    teacher.encode_texts(['circle ' * 19])
    with pytest.raises(ValueError, match='has 21 tokens, more than the 20 tokens'):
        teacher.encode_texts(['circle ' * 20])


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        (['salt &amp; mill'], ['salt & mill']),
        (['fish&nbsp;'], ['fish']),
        (['coach', 'bus'], ['bus', 'Coach']),
    ],
)
def test_words_that_the_teacher_reads_as_the_same(teacher, one, other):
    words = [dict(name=s[0], synonyms=s, frequency=None) for s in (one, ['cat'], other)]
    message = f'mini-clip reads {one[0]!r} and {other[0]!r} as the same tokens'
    with pytest.raises(ValueError, match=message):
        teacher.encode_categories(words, ['{}'])
    words[2]['synonyms'] = [*other, 'omnibus']
    assert len(teacher.encode_categories(words, ['{}']).names) == 3


@pytest.mark.parametrize('vocabulary', ['CocoDataset', 'LVISV1Dataset', 'Objects365V2Dataset'])
def test_words_of_datasets_are_different_to_the_teacher(teacher, vocabulary):
    teacher.check_distinct(load_categories(vocabulary))


def test_identity_is_that_of_the_weights(weights, teacher, tmp_path):
    copy = str(tmp_path / 'copy.pt')
    state = torch.load(weights, weights_only=True)
    torch.save(state, copy)
    assert OpenCLIPTeacher('mini-clip', copy).identity == teacher.identity
    assert teacher.identity.startswith('mini-clip@')
    name = next(n for n, t in state.items() if t.is_floating_point() and t.numel() > 9)
    state[name].view(-1)[3] += 1e-3
    torch.save(state, copy)
    assert OpenCLIPTeacher('mini-clip', copy).identity != teacher.identity


def test_a_real_architecture():
    """ViT-B/32 with random weights, by the same code as the mini teacher."""
    teacher = OpenCLIPTeacher('ViT-B-32-quickgelu')
    assert teacher.embed_dims == 512 and teacher.input_size == (224, 224)
    assert teacher.temperature == pytest.approx(0.07)  # as CLIP's training begins
    embeddings = teacher.encode_crops(picture(), np.array([[0, 0, 60, 40]]))
    assert embeddings.shape == (1, 512)


@pytest.mark.weights
def test_openai_weights_classify():
    """With the real CLIP: a picture of a word is nearer to that word."""
    import os

    teacher = OpenCLIPTeacher('ViT-B-32-quickgelu', os.environ['VILD_CLIP_WEIGHTS'])
    red, blue = (np.full((64, 64, 3), colour, np.uint8) for colour in ((0, 0, 255), (255, 0, 0)))
    words = teacher.encode_texts(['a red square', 'a blue square'])
    regions = torch.cat([teacher.encode_crops(i, np.array([[0, 0, 64, 64]])) for i in (red, blue)])
    assert (regions @ words.t()).argmax(1).tolist() == [0, 1]


def test_nothing_to_encode(teacher):
    assert teacher.encode_crops(picture(), np.zeros((0, 4))).shape == (0, teacher.embed_dims)
    assert teacher.encode_regions([], []) == []


@pytest.mark.parametrize(
    ('image', 'boxes', 'message'),
    [
        (np.zeros((9, 9), 'u1'), (1, 4), r'\(H, W, 3\) and type uint8, found \(9, 9\)'),
        (np.zeros((9, 9, 3)), (1, 4), 'float64'),
        (np.zeros((9, 9, 3), 'u1'), 4, r'boxes of shape \(n, 4\), found \(4,\)'),
    ],
)
def test_refused_input(teacher, image, boxes, message):
    with pytest.raises(ValueError, match=message):
        teacher.encode_crops(image, np.zeros(boxes))


def test_pictures_in_place_of_words(teacher):
    """Each is seen as a region is; several are averaged, and stay apart as synonyms do."""
    image, small = picture(), picture(30, 20)
    boxes = np.array([[10, 20, 60, 80], [0, 0, 120, 90]], np.float32)
    examples = [dict(image=image, box=boxes[0]), image]
    pictures = [dict(name='it', examples=examples), dict(name='that', examples=[small])]
    categories = parse_words(['red circle', pictures[0], 'a / b', pictures[1]])
    text = teacher.encode_categories(categories)
    words = teacher.encode_categories(parse_words(['red circle', 'a / b']))
    regions = teacher.encode_crops(image, boxes).numpy()
    other = teacher.encode_crops(small, np.array([[0, 0, 20, 30]])).numpy()
    mean = regions.mean(0, keepdims=True) / np.linalg.norm(regions.mean(0))
    expected = np.concatenate([words.embeddings[:1], mean, words.embeddings[1:], other])
    np.testing.assert_allclose(text.embeddings, expected, atol=1e-5)
    expected = [words.synonym_embeddings[:1], regions, words.synonym_embeddings[1:], other]
    np.testing.assert_allclose(text.synonym_embeddings, np.concatenate(expected), atol=1e-5)
    assert text.pictures.tolist() == text.novel.tolist() == [False, True, False, True]
    alone = teacher.encode_categories(categories[3:])
    np.testing.assert_allclose(alone.embeddings, other, atol=1e-5)
