"""What detections say of their scores."""

import pytest
import torch
from small_models import SIZE
from torch.nn.functional import softmax

pytestmark = pytest.mark.onedl

FIRST = slice(1)


@pytest.mark.parametrize('with_vocabulary', [False, True])
@pytest.mark.parametrize('variant', ['vild', 'image', 'ensemble'])
def test_whose_score(vild, detect, variant, with_vocabulary, make_sample):
    """Every field from the logits of the region that a detection comes from."""
    model = vild(variant, explain=6, with_vocabulary=with_vocabulary)
    head = model.roi_head.bbox_head
    seen = {}
    classify = head.classify
    head.classify = lambda *args: seen.setdefault('logits', classify(*args))
    (found,) = detect(model, ['whale . dog . b'], FIRST)
    names, novel = ['whale', 'dog', 'b'], [True, False, True]
    if with_vocabulary:
        names += ['sofa', 'tow_truck', 'red heart', 'cup']
        novel += [False, False, True, True]
    logits, count = seen['logits'], len(names)
    parts = {}
    if variant != 'image':
        parts['text_scores'] = softmax(logits[:, : count + 1], dim=1)[:, :count]
    if variant != 'vild':
        parts['image_scores'] = softmax(logits[:, -count:], dim=1)
    total = parts.get('text_scores', parts.get('image_scores'))
    if variant == 'ensemble':
        text_weight = torch.where(torch.tensor(novel), 1 / 3, 2 / 3)
        total = parts['text_scores'] ** text_weight * parts['image_scores'] ** (1 - text_weight)
    torch.manual_seed(0)
    make_sample()
    torch.rand(20, 2), torch.rand(20, 2)
    objectness = torch.rand(20)
    assert {'text_scores', 'image_scores'} & set(found.keys()) == set(parts)
    assert len(found) and found.labels.max() < 3
    for i in range(len(found)):
        label = found.labels[i]
        (row,) = (total[:, label] == found.scores[i]).nonzero()[0]
        assert found.objectness[i] == objectness[row]
        for field, part in parts.items():
            assert found[field][i] == part[row, label]
        others = sorted(
            ((total[row, j], names[j], novel[j]) for j in range(count) if j != label), reverse=True
        )
        scores, other_names, other_novel = zip(*others[:6], strict=True)
        assert found.other_scores[i].tolist() == [*scores]
        assert found.other_names[i] == [*other_names]
        assert found.other_novel[i].tolist() == [*other_novel]


@pytest.mark.parametrize('variant', ['vild', 'ensemble'])
def test_nothing_to_explain(vild, detect, variant):
    """Without any proposal, the fields are the same; unasked, there are none."""
    model, common = vild(variant, explain=2), 'bboxes scores labels masks label_names novel'
    (some,), (none,) = (detect(model, [None], FIRST, proposed=count) for count in (2, 0))
    assert len(some) and none.masks.shape == (0, SIZE, SIZE) and none.other_names == []
    assert set(none.keys()) == set(some.keys()) >= {'objectness', 'other_scores'}
    (unasked,) = detect(vild(variant), ['whale . dog'], FIRST)
    assert set(unasked.keys()) == {*common.split()}


@pytest.mark.parametrize('explain', [True, -1, 2.0, 'all'])
def test_how_many_words_to_name(vild, detect, explain):
    with pytest.raises(
        ValueError, match=f'explain in test_cfg.rcnn must be a whole .* found {explain!r}'
    ):
        detect(vild(explain=explain), ['whale'], FIRST)
