"""Maps of words against NumPy, and the memory that they need."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from torch.nn.functional import interpolate

from mmdet_vild.models import OpenVocabularyFusionHead, Words
from mmdet_vild.models.segmentors import open_vocabulary_fusion_head as module

pytestmark = pytest.mark.onedl


def fusion(count: int = 6, **test_cfg) -> OpenVocabularyFusionHead:
    usual = dict(panoptic_on=False, semantic_on=True)
    return OpenVocabularyFusionHead(count, 0, test_cfg=usual | test_cfg)


def inputs(words: int, queries: int = 5, size=(32, 48)) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return 3 * torch.randn(queries, words + 1), 3 * torch.randn(queries, *size)


@pytest.mark.parametrize('elements', [1, 32 * 48 * 2, 2**24])
@pytest.mark.parametrize('size', [None, (41, 57)])
def test_is_the_formula_however_many_words_at_a_time(monkeypatch, elements, size):
    monkeypatch.setattr(module, 'MOST_ELEMENTS', elements)
    logits, masks = inputs(6)
    chances = np.exp(logits.double().numpy())
    chances = chances[:, :-1] / chances.sum(1, keepdims=True)
    cut = 1 / (1 + np.exp(-masks.double().numpy()[:, :30, :44]))
    scores = torch.tensor(np.einsum('qc,qhw->chw', chances, cut))
    if size:
        scores = interpolate(scores[None], size, mode='bilinear', align_corners=False)[0]
    found = fusion().semantic_postprocess(logits, masks, (30, 44), size).sem_seg
    assert torch.equal(found[0], scores.argmax(0))


def test_words_asked_for_compete_with_others():
    """The first 2 of 6 words are asked for; pixels of others are of none."""
    logits, masks = inputs(6)
    sample = DetDataSample(metainfo=dict(img_shape=(30, 44), ori_shape=(60, 88)))
    words = Words(tuple('abcdef'), torch.ones(6, 4), torch.zeros(6).bool(), 2)
    head = fusion(4, instance_on=True, max_per_image=100)
    (found,) = head.predict([logits], masks[None], [sample], True, [words])
    seen, whole = found['sem_results'], head.semantic_postprocess(logits, masks, (30, 44), (60, 88))
    assert seen.ignore_index == 255 and seen.sem_seg.shape == (1, 60, 88)
    expected = torch.where(whole.sem_seg < 2, whole.sem_seg, 255)
    assert torch.equal(seen.sem_seg, expected) and len(expected.unique()) == 3
    instances = found['ins_results']
    assert len(instances) == 10 and instances.labels.max() == 1
    assert instances.masks.shape == (10, 60, 88)
    masks = interpolate(masks[None, :, :30, :44], (60, 88), mode='bilinear')[0]
    quality = (masks.sigmoid() * (masks > 0)).sum((1, 2)) / (masks > 0).sum((1, 2))
    both = logits.softmax(1)[:, :2] * quality[:, None]
    torch.testing.assert_close(instances.scores.sort().values, both.flatten().sort().values)
    assert head.num_classes == 4 and head.test_cfg['max_per_image'] == 100


def test_a_map_alone_resizes_no_mask(monkeypatch):
    """As mmdet does of all queries before it looks at what is to be found."""

    def refused(*args, **kwargs):
        raise AssertionError('mmdet was asked')

    monkeypatch.setattr(module.MaskFormerFusionHead, 'predict', refused)
    logits, masks = inputs(6)
    sample = DetDataSample(metainfo=dict(img_shape=(30, 44), ori_shape=(60, 88)))
    (found,) = fusion().predict([logits], masks[None], [sample], True)
    assert list(found) == ['sem_results']
    for wanted in ('instance_on', 'panoptic_on'):
        with pytest.raises(AssertionError, match='mmdet was asked'):
            fusion(**{wanted: True}).predict([logits], masks[None], [sample], True)


def test_many_words_have_16_bits():
    logits, masks = inputs(300)
    found = fusion(300).semantic_postprocess(logits, masks, count=256)
    assert found.ignore_index == 65535 and found.sem_seg.dtype == torch.int64


def test_847_words_need_less_than_a_gigabyte():
    """Counted are all tensors alive at once; a map of all scores alone would have 1.2 GB."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    alive, peak = {}, [0]

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            import weakref

            result = function(*args, **(kwargs or {}))
            for each in tree_leaves(result):
                if isinstance(each, torch.Tensor):
                    storage = each.untyped_storage()
                    key = storage.data_ptr()
                    if key and key not in alive:
                        alive[key] = storage.nbytes()
                        weakref.finalize(storage, alive.pop, key, None)
            peak[0] = max(peak[0], sum(alive.values()))
            return result

    # Few queries, of a fifth of the sides: what is counted grows with pixels and words alone.
    size, most = (683 // 5, 512 // 5), module.MOST_ELEMENTS
    module.MOST_ELEMENTS = most // 25
    try:
        with Counting(), torch.no_grad():
            fusion(847).semantic_postprocess(*inputs(847, 20, size))
    finally:
        module.MOST_ELEMENTS = most
    assert 0 < peak[0] * 25 < 2**30
