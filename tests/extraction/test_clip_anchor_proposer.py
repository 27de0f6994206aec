"""The teacher's own proposals; the authors' numbers are in tests/parity."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdet.registry import TASK_UTILS
from small_detector import TWICE
from torchvision.ops import box_iou

from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl
META = dict(classes=('red circle', 'blue ring', 'red heart'), novel_classes=('red heart',))
BOX = [20.0, 10, 60, 50]


@pytest.fixture
def make(detector):
    """Builds a proposer of few anchors: 7 x 5 cells of 6."""

    def make(**options):
        text = detector.config.model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings
        sizes = dict(sizes=(32, 64), ratios=(0.5, 1.0, 2.0))
        cfg = dict(type='CLIPAnchorProposer', text_embeddings=text)
        return TASK_UTILS.build(cfg | sizes | options)

    return make


@pytest.fixture
def model(detector):
    model = detector.build()
    model.dataset_meta = META
    return model


@pytest.fixture
def propose(detector, model):
    def propose(proposer, *instances):
        data = detector.sample(TWICE, instances=list(instances))
        return proposer.propose(model, data['inputs'], data['data_samples'])[0]

    return propose


def annotated(label, box=BOX, **more) -> dict:
    return dict(bbox=box, bbox_label=label, **more)


def test_weights_and_embeddings(detector, propose, make, model):
    """Scores are of a first look without context, weights and embeddings of the second."""
    before = model.teacher.encoded
    found = propose(make(with_novel_names=True, num_kept=20, num_candidates=50))
    assert model.teacher.encoded - before == 7 * 5 * 6 + 50 * 2  # anchors, and two scales
    assert 5 < len(found) <= 20
    text = detector.text.embeddings.astype(float)
    for scales, field in (((1.0,), 'scores'), (None, 'weights')):
        rows = detector.teacher.encode_regions([detector.image], [found.bboxes], scales)[0]
        logits = rows.double().numpy() @ text.T / detector.teacher.temperature
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        expected = np.log(3) + (p * np.log(p)).sum(1) if scales else p.max(1)
        np.testing.assert_allclose(found[field], expected, atol=1e-4)
    torch.testing.assert_close(found.embeddings, rows, rtol=0, atol=1e-5)
    assert (found.scores.diff() <= 0).all()
    overlaps = box_iou(found.bboxes, found.bboxes).fill_diagonal_(0)
    assert overlaps.max() <= 0.7 and found.bboxes.min() >= 0 and found.bboxes.max() <= 100


def test_base_objects_and_crowds_of_them_are_left_out(propose, make):
    proposer = make(base_iou=0.3)
    free, guarded = propose(proposer), propose(proposer, annotated(0))
    box = torch.tensor([BOX])
    assert box_iou(free.bboxes, box).max() >= 0.3 > box_iou(guarded.bboxes, box).max()
    crowd = propose(proposer, annotated(0, ignore_flag=1))
    assert torch.equal(crowd.bboxes, guarded.bboxes)
    assert torch.equal(propose(make(base_iou=None), annotated(0)).bboxes, free.bboxes)


@pytest.mark.parametrize('crowd', [0, 1])
def test_a_novel_object_is_never_looked_at(propose, make, crowd):
    """The same rows, bit for bit, with its annotation and without."""
    for proposer in (make(), make(with_novel_names=True, drop_base=True)):
        without, beside = propose(proposer), propose(proposer, annotated(2, ignore_flag=crowd))
        for key in ('bboxes', 'scores', 'weights', 'embeddings'):
            assert torch.equal(without[key], beside[key])


def test_names(detector, propose, make, model, tmp_path):
    """Base names alone, or novel ones too; what looks like a base category may be dropped."""
    both, base = make(with_novel_names=True), make()
    assert base.names == ['red circle', 'blue ring'] and both.names == [*base.names, 'red heart']
    sources = [p.source(model)['clip_proposals'] for p in (base, both)]
    assert sources[0]['novel_words'] == 0 and sources[1]['novel_words'].startswith('1@')
    model.dataset_meta = dict(META, novel_classes=('blue ring',))  # as many, and another one
    other = replace(detector.text, novel=np.array([False, True, False]))
    other.save(str(tmp_path / 'other.npz'))
    other = make(with_novel_names=True, text_embeddings=str(tmp_path / 'other.npz'))
    assert other.source(model)['clip_proposals'] != sources[1]
    model.dataset_meta = META
    novel = propose(make(with_novel_names=True, drop_base=True))
    nearest = novel.embeddings @ torch.from_numpy(detector.text.embeddings).T
    assert len(novel) and (nearest.argmax(1) == 2).all()  # as this teacher calls everything
    model.dataset_meta = dict(META, novel_classes=('red circle', 'blue ring'))
    text = replace(detector.text, novel=np.array([True, True, False]))
    text.save(str(tmp_path / 'others.npz'))
    path = dict(text_embeddings=str(tmp_path / 'others.npz'))
    assert not len(propose(make(with_novel_names=True, drop_base=True, **path)))
    assert len(propose(make(with_novel_names=True, **path))) == len(novel)


def test_number_and_choice_of_candidates(propose, make):
    whole = propose(make(num_kept=1000))
    best = propose(make(num_candidates=8))
    assert torch.equal(best.bboxes, whole.bboxes[:8])
    drawn, again = (propose(make(num_candidates=8, random_candidates=True)) for _ in range(2))
    assert torch.equal(drawn.bboxes, again.bboxes) and not torch.equal(drawn.bboxes, best.bboxes)
    assert (drawn.scores.diff() <= 0).all() and len(propose(make(num_kept=3))) == 3


def test_regions_of_another_proposer(detector, propose, make, model):
    """Those that the RPN proposed, in the order of the teacher's scores."""
    found = propose(make(regions=dict(type='RPNProposer'), base_iou=None))
    data = detector.sample(TWICE)
    (given,) = model.proposers[0].propose(model, data['inputs'], data['data_samples'])
    rows = {tuple(box) for box in given.bboxes.tolist()}
    assert len(found) > 3 and {tuple(box) for box in found.bboxes.tolist()} <= rows
    source = make(regions=dict(type='RPNProposer')).source(model)['clip_proposals']
    assert source['regions']['proposals'].startswith('rpn@')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(drop_base=True), 'which is everything if base names alone are known; set'),
        (dict(score='grid', regions=dict(type='RPNProposer')), "score='grid' of CLIPAnchorProp"),
        (dict(sizes=(32, -1)), 'a value of sizes of CLIPAnchorProposer must be a number above 0'),
        (dict(ratios=()), 'a value of ratios of CLIPAnchorProposer must be a number above 0'),
        (dict(nms_iou=1.5), 'nms_iou of CLIPAnchorProposer must be a number from 0 to 1'),
    ],
)
def test_refused_at_build(detector, options, message):
    text = detector.config.model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings
    with pytest.raises(ValueError, match=message):
        TASK_UTILS.build(dict(type='CLIPAnchorProposer', text_embeddings=text, **options))


def test_words_that_do_not_belong(detector, make, model, tmp_path):
    def other(**changes):
        path = str(tmp_path / 'other.npz')
        replace(detector.text, **changes).save(path)
        return TASK_UTILS.build(dict(type='CLIPAnchorProposer', text_embeddings=path))

    with pytest.raises(ValueError, match='which mini-clip@0 encoded, .* wide; encode them with'):
        other(teacher='mini-clip@0').source(model)
    narrow = detector.text.embeddings[:, :5]
    with pytest.raises(ValueError, match='embeds, .* which mini-clip encoded, 5 wide; encode them'):
        other(teacher='mini-clip', embeddings=narrow, synonym_embeddings=None).source(model)
    with pytest.raises(ValueError, match=r"differ on whether these are novel: \['blue ring'\]"):
        other(novel=np.array([False, True, True])).source(model)
    with pytest.raises(ValueError, match='all words of .* are novel, so that CLIPAnchorProposer'):
        other(novel=np.ones(3, bool))
    tuned = TextEmbeddings(detector.text.embeddings, ('x', 'y', 'z'), [False] * 3, 'mini-clip')
    tuned.save(str(tmp_path / 'unknown.npz'))  # of other words, which the dataset need not have
    cfg = dict(type='CLIPAnchorProposer', text_embeddings=str(tmp_path / 'unknown.npz'))
    assert TASK_UTILS.build(cfg).source(model)['clip_proposals']['novel_words'] == 0
