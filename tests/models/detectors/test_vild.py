"""Words that are asked of a detector, against detectors that have them as their vocabulary."""

import pytest
import torch
from hash_teacher import OWN, OWN_NOVEL, TEMPLATES, encode
from small_models import CATEGORIES, NOVEL, TEACHER, build
from torch.nn.functional import normalize

from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl

FIRST = slice(1)
NAN = float('nan')


def test_class_names(detector_cfg):
    """Whatever a checkpoint says: it may have been trained with other words."""
    words = tuple(f'text {i}' for i in range(CATEGORIES))
    own = dict(classes=words, base_classes=words[:-NOVEL], novel_classes=words[-NOVEL:])
    detector = build(detector_cfg())
    assert detector.dataset_meta == own
    palette = dict(palette=[(1, 2, 3)] * CATEGORIES)
    detector.dataset_meta = dict(classes=words, **palette)
    assert detector.dataset_meta == own | palette
    other = {'classes': ('cat', 'dog'), 'palette': [(1, 2, 3)] * 2, 'novel_classes': ('dog',)}
    detector.dataset_meta = other
    assert detector.dataset_meta == own
    detector.dataset_meta['palette'] = 'random'  # as init_detector does
    assert detector.dataset_meta['palette'] == 'random'


def test_refuses_another_roi_head(detector_cfg):
    with pytest.raises(TypeError, match='ViLD needs a CLIPTextClassifier'):
        build(detector_cfg() | dict(roi_head=dict(type='StandardRoIHead')))
    cfg = detector_cfg('text')
    cfg['roi_head']['type'] = 'StandardRoIHead'
    del cfg['roi_head']['distill_loss']
    with pytest.raises(TypeError, match='must be a ViLDRoIHead, found StandardRoIHead'):
        build(cfg)


@pytest.mark.parametrize('variant', ['text', 'image', 'vild', 'ensemble'])
def test_each_image_has_its_words(vild, detect, variant, tmp_path, calls):
    """As a detector whose vocabulary they are, with base and novel as they are to this one."""
    words, listed = 'red heart . whale . settee', ('Dog', 'sofa / divan', 'beaker', *'abcdef')
    asked = [
        ([['red heart'], ['whale'], ['settee']], [True, True, True]),
        (OWN, OWN_NOVEL),
        ([name.split(' / ') for name in listed], [False, False, *[True] * 7]),
    ]
    asked.append(asked[0])
    together = detect(vild(variant), [words, None, listed, words])
    for i, (synonyms, novel) in enumerate(asked):
        path = str(tmp_path / f'{i}.npz')
        expected = encode(synonyms, TEMPLATES, novel=novel)
        if i == 2:  # the vocabulary's row is that of its own spelling
            rows = expected.embeddings.copy()
            rows[0] = encode([['dog']], TEMPLATES).embeddings[0]
            expected = TextEmbeddings(rows, expected.names, expected.novel, TEACHER)
        expected.save(path)
        (alone,) = detect(vild(variant, path), [None], of=slice(i, i + 1))
        found = together[i]
        assert len(found) == len(alone)
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.bboxes, alone.bboxes, rtol=1e-4, atol=1e-3)
        assert torch.equal(found.labels, alone.labels) and found.labels.unique().numel() > 1
        assert torch.equal(found.masks, alone.masks)
        names = [synonyms[label][0] for label in found.labels]
        assert found.label_names == names == alone.label_names
        assert found.novel.tolist() == [novel[label] for label in found.labels]
    # What is in the vocabulary was not encoded again, nor what is in the cache.
    assert calls == [['whale', 'settee'], ['sofa', 'beaker', *'abcdef']]


def test_the_vocabulary_competes(vild, detect, tmp_path):
    """All words that are not asked for under any name take part, and none of them is found."""
    path = str(tmp_path / 'all.npz')
    words = [['whale'], ['couch', 'settee'], *OWN[:1], *OWN[2:]]
    encode(words, TEMPLATES, novel=[True, False, False, False, True, True]).save(path)
    for variant in ('vild', 'image', 'ensemble'):
        model = vild(variant, with_vocabulary=True, max_per_img=100)
        (found,) = detect(model, ['whale . couch / settee'], FIRST)
        (every,) = detect(vild(variant, path, max_per_img=200), [None], FIRST)
        every = every[every.labels < 2]
        assert len(found) == len(every) > 10
        torch.testing.assert_close(found.scores, every.scores)
        assert found.label_names == every.label_names


@pytest.mark.parametrize('synonyms', ['max', 'mean', 'random'])
@pytest.mark.parametrize('with_vocabulary', [False, True])
def test_each_synonym_of_words(vild, detect, tmp_path, synonyms, with_vocabulary):
    """As a detector whose vocabulary they are, which compares with each, too; rivals as well."""
    own, same = str(tmp_path / 'each.npz'), str(tmp_path / 'same.npz')
    encode(OWN, TEMPLATES, novel=OWN_NOVEL, each=True).save(own)
    asked = [['whale', 'orca'], ['sofa', 'couch'], ['cup', 'mug']]
    words = [*asked, ['dog'], ['tow_truck', 'red heart'], ['red heart']]
    novel = [True, False, True, False, False, True]
    words, novel = (words, novel) if with_vocabulary else (asked, novel[:3])
    encode(words, TEMPLATES, novel=novel, each=True).save(same)
    many = dict(synonyms=synonyms, max_per_img=200)
    model = vild('vild', own, with_vocabulary=with_vocabulary, **many)
    (found,) = detect(model, ['whale / orca . couch . cup'], FIRST)
    (every,) = detect(vild('vild', same, **many), [None], FIRST)
    every = every[every.labels < 3]
    assert len(found) == len(every) > 10
    torch.testing.assert_close(found.scores, every.scores)
    assert found.label_names == [['whale', 'couch', 'cup'][label] for label in every.labels]


def test_many_words(vild, detect):
    """Of 5,000 each detection has the word that its region is nearest to."""
    model = vild(score_thr=0)
    names = [f'word {i}' for i in range(5_000)]
    embedded = []
    embed = model.roi_head.bbox_head.fc_cls.embed
    model.roi_head.bbox_head.fc_cls.embed = lambda x: embedded.append(embed(x)) or embedded[0]
    (found,) = detect(model, [names], FIRST)
    words = torch.from_numpy(encode([[name] for name in names], TEMPLATES).embeddings)
    best = {names[i] for i in (embedded[0] @ normalize(words, dim=1).T).argmax(dim=1)}
    assert len(found) == 60 and found.label_names[0] in best
    assert found.label_names == [names[label] for label in found.labels]


def test_masks_of_each_category_are_refused(vild, detect):
    model = vild()
    model.roi_head.mask_head.class_agnostic = False
    with pytest.raises(ValueError, match='class_agnostic=True'):
        detect(model, ['whale'], FIRST)


def test_more_words_than_colours(vild, detect):
    """mmdet's visualizer shares the detector's dataset_meta, and wants a colour a label."""
    model = vild()
    meta = model.dataset_meta
    meta['palette'] = [(1, 2, 3)] * 5
    detect(model, ['a . b . c . d . e'], FIRST)
    assert meta['palette'] == [(1, 2, 3)] * 5
    detect(model, ['a . b . c . d . e . f'], FIRST)
    assert model.dataset_meta is meta and meta['palette'] == 'random'


@pytest.mark.parametrize(
    ('part', 'settings', 'message'),
    [
        *[('rcnn', dict(score_thr=v), 'score_thr of rcnn .* number') for v in (NAN, 'abc', None)],
        *[
            ('rcnn', dict(score_thr=v), 'score_thr of rcnn .* below 1, found')
            for v in (1, 30, -1.0)
        ],
        *[('rcnn', dict(max_per_img=v), 'max_per_img of rcnn .* 1 or more') for v in (0, -2, 1.5)],
        *[('rcnn', dict(with_vocabulary=v), 'with_vocabulary of rcnn') for v in ('no', 1)],
        *[
            ('rcnn', dict(mask_thr_binary=v), 'mask_thr_binary of rcnn')
            for v in (NAN, 'x', 0, 1, 127)
        ],
        *[('rcnn', dict(nms=dict(iou_threshold=v)), 'iou_threshold of nms') for v in (NAN, -1)],
        ('rcnn', dict(nms='nms'), "nms of rcnn of .* a dict or None, found 'nms'"),
        *[('rpn', dict(max_per_img=v), 'max_per_img of rpn of test_cfg') for v in (0, -1, 'all')],
        *[('rpn', dict(nms_pre=v), 'nms_pre of rpn of test_cfg') for v in ('abc', NAN, 0, -5)],
        *[('rpn', dict(min_bbox_size=v), 'min_bbox_size of rpn') for v in (NAN, 1e9, -5)],
        (
            'rcnn',
            dict(with_vocab=False),
            "rcnn of test_cfg has .* 'with_vocab', .*; write 'with_voc",
        ),
        ('rcnn', dict(max_per_image=1), "the key 'max_per_image', .* write 'max_per_img'"),
        *[
            ('rcnn', dict(partial=dict(overlap=v)), 'overlap of partial of test_cfg.rcnn must')
            for v in (1.5, -1, NAN, 'x')
        ],
        (None, dict(partial=dict(overlap=0.8)), "test_cfg has the key 'partial', .* into rcnn of"),
        (None, dict(objectness_weight=0.2), "the key 'objectness_weight', .* it into rcnn of"),
        ('rpn', dict(score_thr=0.5, nms_prev=1), "rpn of test_cfg has the key 'nms_prev'"),
        ('rpn_proposal', dict(max_per_img=0), 'max_per_img of rpn_proposal of train_cfg'),
        ('rpn_proposal', dict(max_per_image=9), 'rpn_proposal of train_cfg has the key'),
    ],
)
def test_settings_that_find_nothing(detector_cfg, part, settings, message):
    cfg = detector_cfg()
    target = cfg['train_cfg' if part == 'rpn_proposal' else 'test_cfg']
    (target.setdefault(part, {}) if part else target).update(settings)
    with pytest.raises(ValueError, match=message):
        build(cfg)


@pytest.mark.parametrize(
    'partial, message',
    [
        ({}, "partial of test_cfg.rcnn: missing a required argument: 'overlap'"),
        (dict(overlap=0.8, ratio=1), "partial of test_cfg.rcnn: .* argument 'ratio'"),
        (dict(overlap=0.8, labels=3), "partial of test_cfg.rcnn: .* values for argument 'labels'"),
    ],
)
def test_other_arguments_of_partial(detector_cfg, partial, message):
    cfg = detector_cfg()
    cfg['test_cfg'].setdefault('rcnn', {}).update(partial=partial)
    with pytest.raises(TypeError, match=message):
        build(cfg)


def test_settings_that_are_allowed(detector_cfg):
    """Those of mmdet, and keys of one's own."""
    cfg = detector_cfg()
    nms = dict(type='nms', iou_threshold=0.5, score_threshold=0.1)
    rpn = dict(nms_pre=-1, min_bbox_size=-1, max_per_img=9, nms=nms, nms_post=9, own=1)
    cfg['test_cfg'].update(rpn=rpn, own=2)
    cfg['test_cfg'].setdefault('rcnn', {}).update(mask_thr_binary=-1, score_thr=0.999, temper=1)
    assert build(cfg).test_cfg.rcnn.temper == 1
