"""What the teacher sees of segments."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet

from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.teacher.masked_crops import encode_masks, painted_crops, pool_tokens


@pytest.fixture(scope='module')
def teacher() -> OpenCLIPTeacher:
    torch.manual_seed(0)
    return OpenCLIPTeacher('mini-clip')


@pytest.fixture
def picture() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, an L and its surroundings as masks, and their boxes."""
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    shape = np.zeros((40, 60), bool)
    shape[10:30, 20:25] = shape[25:30, 20:50] = True
    return image, np.array([shape, ~shape]), np.array([[20, 10, 50, 30], [0, 0, 60, 40]], float)


def test_pixels_outside_of_a_mask_are_grey(picture):
    image, masks, boxes = picture
    for crop, mask, box in zip(painted_crops(*picture), masks, boxes.astype(int), strict=True):
        x1, y1, x2, y2 = box
        mask = mask[y1:y2, x1:x2]
        assert crop.shape == (y2 - y1, x2 - x1, 3)  # the last row and column too
        assert (crop[mask] == image[y1:y2, x1:x2][mask]).all() and (crop[~mask] == 128).all()
    for crop, box in zip(painted_crops(*picture, masked=False), boxes.astype(int), strict=True):
        assert (crop == image[box[1] : box[3], box[0] : box[2]]).all()


def test_embeddings_are_those_of_the_painted_crops(teacher, picture, monkeypatch):
    """One by one, as the teacher encodes pictures of these pixels."""
    monkeypatch.setattr(teacher, 'batch_size', 1)  # as if there were many
    found = encode_masks(teacher, *picture)
    for row, crop in zip(found, painted_crops(*picture), strict=True):
        height, width = crop.shape[:2]
        pixels = teacher.crops(crop, torch.tensor([[0, 0, width, height]]))
        expected = torch.nn.functional.normalize(teacher.encode_images(pixels), dim=1)[0]
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)
    image, masks, boxes = picture
    assert encode_masks(teacher, image, masks[:0], boxes[:0]).shape == (0, teacher.embed_dims)


def test_first_token_is_open_clips():
    """And the local ones are what open_clip computes and drops."""
    torch.manual_seed(0)
    pool = ModifiedResNet((1, 1, 1, 1), 8, 4, image_size=64, width=8).attnpool
    features = torch.randn(3, 256, 2, 2)
    tokens = pool_tokens(pool, features)
    torch.testing.assert_close(tokens[:, 0], pool(features))
    assert tokens.shape == (3, 5, 8)
    assert pool_tokens(pool, features[:1]).shape == (1, 5, 8)  # of one region, too


def test_local_tokens(teacher, picture):
    """The mean over the places of the pool, of the picture that the global one is of."""
    found = encode_masks(teacher, *picture, token='local')
    assert found.shape == (2, teacher.embed_dims)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    seen, visual = [], teacher.model.visual
    hook = visual.attnpool.register_forward_hook(lambda pool, x, out: seen.append((x[0], out)))
    whole = encode_masks(teacher, *picture)
    hook.remove()
    ((features, outputs),) = seen
    tokens = pool_tokens(visual.attnpool, features)
    torch.testing.assert_close(tokens[:, 0], outputs)
    rows = torch.nn.functional.normalize(tokens[:, 1:].mean(1))
    torch.testing.assert_close(found, rows, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found, whole, atol=1e-4)


def test_refuses_what_does_not_fit(teacher, picture):
    image, masks, boxes = picture
    with pytest.raises(ValueError, match='is not of this image'):
        encode_masks(teacher, image[:20], masks, boxes)
    with pytest.raises(ValueError, match='has no pixel'):
        encode_masks(teacher, image, masks, boxes + 100)
    plain = SimpleNamespace(model=SimpleNamespace(visual=object()), model_name='ViT-B-32')
    with pytest.raises(ValueError, match='attention pool, and ViT-B-32 has none'):
        encode_masks(plain, *picture, token='local')
