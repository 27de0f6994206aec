"""The rival in which a teacher names every mask, against a formula in NumPy."""

import numpy as np
import pytest
import torch
from mmdet.registry import TASK_UTILS
from scipy.special import softmax
from small_segmentor import CLASSES, SIZE, built, gkc_config, segment_batch, write_words

from mmdet_vild.models import CLIPOnMasks
from mmdet_vild.models.segmentors.clip_on_masks import box_of
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl
TEMPERATURE = 0.04


@TASK_UTILS.register_module()
class SeesOneWord:
    """A teacher to which each segment is an embedding that depends on its box."""

    identity = 'teacher@0'

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.seen = torch.tensor(rows, dtype=torch.float32), []

    def to(self, device) -> 'SeesOneWord':
        return self

    def encode_masks(self, image, masks, boxes):
        self.seen.append((image.shape, [np.packbits(mask) for mask in masks], boxes))
        return torch.nn.functional.normalize(self.rows[: len(boxes)], dim=1)


@pytest.fixture
def path(tmp_path) -> str:
    return write_words(str(tmp_path / 'words.npz'))


@pytest.fixture
def rows(path) -> np.ndarray:
    text = TextEmbeddings.load(path)
    return np.random.default_rng(5).normal(size=(8, text.embed_dims)) + 3 * text.embeddings[[3] * 8]


@pytest.fixture
def model(path, rows) -> CLIPOnMasks:
    config = gkc_config(path)
    config.update(type='CLIPOnMasks', teacher=dict(type='SeesOneWord', rows=rows))
    config.own_words = ('word 1', 'word 4')
    classifier = config.panoptic_head.cls_predictor_cfg
    classifier.update(temperature=TEMPERATURE, learned_temperature=True)
    found = built(config).eval()
    found.panoptic_head.fc_cls.logit_scale.data.fill_(1.0)  # what the segmentor learned
    return found


def test_the_teacher_shares_what_is_neither_nothing_nor_an_own_word(
    model, path, rows, monkeypatch
) -> None:
    torch.manual_seed(3)
    logits = torch.randn(4, CLASSES + 1)
    masks = torch.full((1, 4, SIZE, SIZE), -5.0)
    masks[0, 0, 8:20, 10:30] = 5.0
    masks[0, 1, :, :7] = 5.0
    masks[0, 3, 40:, 50:] = 5.0  # the mask 2 has no pixel
    monkeypatch.setattr(
        model.panoptic_head, 'predict', lambda features, samples: ([logits.clone()], masks)
    )
    batch = segment_batch(1)
    image = np.zeros((2 * SIZE, 2 * SIZE, 3), np.uint8)
    batch['data_samples'][0].set_metainfo(dict(ori_img=image))
    with torch.no_grad():
        (found,), _ = model.find_masks(batch['inputs'], batch['data_samples'])

    text = TextEmbeddings.load(path)
    words = text.embeddings / np.linalg.norm(text.embeddings, axis=1, keepdims=True)
    seen = rows[:3] / np.linalg.norm(rows[:3], axis=1, keepdims=True)
    expected = softmax(logits.numpy(), axis=1)
    others = [0, 2, 3]
    for row, embedding in zip((0, 1, 3), seen, strict=True):
        named = softmax(words[others] @ embedding / TEMPERATURE)
        expected[row, others] = named * expected[row, others].sum()
    np.testing.assert_allclose(found.softmax(dim=1).numpy(), expected, rtol=1e-4, atol=1e-6)
    ((shape, painted, boxes),) = model.teacher.seen
    assert shape == image.shape and len(painted) == 3
    # in pixels of the original picture, which is twice as large
    np.testing.assert_allclose(boxes[0], [20, 16, 60, 40], atol=1)
    np.testing.assert_allclose(boxes[2], [100, 80, 128, 128], atol=1)


def test_maps_are_of_what_the_teacher_says(model, rows) -> None:
    model.own_words = frozenset()
    model.panoptic_head.fc_cls.background.data.fill_(0.0)
    batch = segment_batch(1, 1)
    for sample in batch['data_samples']:
        sample.set_metainfo(dict(ori_img=np.zeros((SIZE, SIZE, 3), np.uint8)))
    with torch.no_grad():
        samples = model.predict(batch['inputs'], batch['data_samples'])
    assert len(model.teacher.seen) == 2
    for sample in samples:
        labels, counts = sample.pred_sem_seg.sem_seg.unique(return_counts=True)
        assert labels[counts.argmax()] == 3  # near whose word every embedding is


def test_box_of_a_mask() -> None:
    mask = np.zeros((9, 12), bool)
    mask[2:5, 3] = mask[4, 3:11] = True
    assert box_of(mask) == (3, 2, 11, 5)
