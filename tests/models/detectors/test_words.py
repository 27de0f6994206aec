"""Words that are asked for at inference, against detectors that have them as their vocabulary."""

import copy
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hash_teacher import TEMPLATES, HashTeacher, encode
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from small_models import SIZE, TEACHER
from torch.nn.functional import normalize, softmax

from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl


#: One is a synonym of a base category and the name of a novel one.
OWN = [['dog'], ['sofa', 'couch'], ['tow_truck', 'red heart'], ['red heart'], ['cup', 'mug']]
OWN_NOVEL = [False, False, False, True, True]


@pytest.fixture(autouse=True)
def calls():
    HashTeacher.calls = []
    return HashTeacher.calls


@pytest.fixture
def own(tmp_path) -> str:
    path = str(tmp_path / 'own.npz')
    encode(OWN, TEMPLATES, novel=OWN_NOVEL).save(path)
    return path


@pytest.fixture
def build(roi_head_cfg, own):
    """A detector with certain words and the same weights every time."""

    def make(variant: str = 'vild', text: str = own, teacher='default', **rcnn):
        roi_head = roi_head_cfg(variant)
        train, test = roi_head.pop('train_cfg'), roi_head.pop('test_cfg')
        head = roi_head['bbox_head']
        head['num_classes'] = len(TextEmbeddings.load(text).names)
        head['cls_predictor_cfg'] |= dict(text_embeddings=text, temperature=0.5)
        torch.manual_seed(0)
        given = ConfigDict(
            type='ViLD',
            teacher=dict(type='HashTeacher') if teacher == 'default' else teacher,
            data_preprocessor=dict(type='DetDataPreprocessor'),
            backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(0, 1)),
            neck=dict(type='FPN', in_channels=[8, 16], out_channels=8, num_outs=2),
            roi_head=roi_head,
            train_cfg=dict(rcnn=train),
            test_cfg=dict(rcnn=test | dict(max_per_img=60, with_vocabulary=False) | rcnn),
        )
        model = MODELS.build(copy.deepcopy(given))
        model.given = given
        return model.eval()

    return make


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def detect(make_sample, images):
    """Detects the words of each of some images; None is for the vocabulary."""

    @torch.no_grad()
    def run(model, texts, custom_entities: bool = True, of=slice(None)):
        samples = []
        for i, text in zip(range(len(images))[of], texts, strict=True):
            torch.manual_seed(i)
            sample = make_sample()
            start = torch.rand(20, 2) * 30
            boxes = torch.cat([start, start + 8 + torch.rand(20, 2) * 24], dim=1)
            sample.proposals = InstanceData(bboxes=boxes, scores=torch.rand(20))
            if text is not None:
                sample.set_metainfo(dict(text=text, custom_entities=custom_entities))
            samples.append(sample)
        return [sample.pred_instances for sample in model.predict(images[of], samples)]

    return run


@pytest.mark.parametrize('variant', ['text', 'image', 'vild', 'ensemble'])
def test_each_image_has_its_words(build, detect, variant, tmp_path, calls):
    """As a detector whose vocabulary they are, with base and novel as they are to this one."""
    texts = [
        'red heart . whale . settee',
        None,
        ('Dog', 'sofa / divan', 'beaker', 'a', 'b', 'c', 'd', 'e', 'f'),
        'red heart . whale . settee',
    ]
    asked = [
        ([['red heart'], ['whale'], ['settee']], [True, True, True]),
        (OWN, OWN_NOVEL),
        (
            [['Dog'], ['sofa', 'divan'], ['beaker'], *map(list, 'abcdef')],
            [False, False, *[True] * 7],
        ),
    ]
    asked.append(asked[0])
    together = detect(build(variant), texts)
    for i, (synonyms, novel) in enumerate(asked):
        path = str(tmp_path / f'{i}.npz')
        expected = encode(synonyms, TEMPLATES, novel=novel)
        if i == 2:  # the vocabulary's row is that of its own spelling
            rows = expected.embeddings.copy()
            rows[0] = encode([['dog']], TEMPLATES).embeddings[0]
            expected = TextEmbeddings(rows, expected.names, expected.novel, TEACHER)
        expected.save(path)
        (alone,) = detect(build(variant, path), [None], of=slice(i, i + 1))
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


def test_the_samples_come_back_without_embeddings(build, make_sample, images):
    sample = make_sample()
    sample.proposals = InstanceData(bboxes=torch.tensor([[4.0, 4, 40, 40]]))
    sample.set_metainfo(dict(text=['whale'], custom_entities=False))
    with torch.no_grad():
        (found,) = build().predict(images[:1], [sample])
    assert 'words' not in found.metainfo and found.pred_instances.label_names == ['whale']


def test_the_vocabulary_competes(build, detect, tmp_path):
    """All words that are not asked for under any name take part, and none of them is found."""
    path = str(tmp_path / 'all.npz')
    words = [['whale'], ['couch', 'settee'], *OWN[:1], *OWN[2:]]
    encode(words, TEMPLATES, novel=[True, False, False, False, True, True]).save(path)
    for variant in ('vild', 'image', 'ensemble'):
        model = build(variant, with_vocabulary=True, max_per_img=100)
        (found,) = detect(model, ['whale . couch / settee'], of=slice(1))
        (every,) = detect(build(variant, path, max_per_img=200), [None], of=slice(1))
        every = every[every.labels < 2]
        assert len(found) == len(every) > 10
        torch.testing.assert_close(found.scores, every.scores)
        assert found.label_names == every.label_names


def test_many_words(build, detect):
    """Of 20,000 each detection has the word that its region is nearest to."""
    model = build(score_thr=0)
    names = [f'word {i}' for i in range(20_000)]
    embedded = []
    embed = model.roi_head.bbox_head.fc_cls.embed
    model.roi_head.bbox_head.fc_cls.embed = lambda x: embedded.append(embed(x)) or embedded[0]
    (found,) = detect(model, [names], of=slice(1))
    words = torch.from_numpy(encode([[name] for name in names], TEMPLATES).embeddings)
    best = {names[i] for i in (embedded[0] @ normalize(words, dim=1).T).argmax(dim=1)}
    assert len(found) == 60 and found.label_names[0] in best
    assert found.label_names == [names[label] for label in found.labels]


def test_masks_of_each_category_are_refused(build, detect):
    model = build()
    model.roi_head.mask_head.class_agnostic = False
    with pytest.raises(ValueError, match='class_agnostic=True'):
        detect(model, ['whale'], of=slice(1))


def test_more_words_than_colours(build, detect):
    """mmdet's visualizer shares the detector's dataset_meta, and wants a colour a label."""
    model = build()
    meta = model.dataset_meta
    meta['palette'] = [(1, 2, 3)] * 5
    detect(model, ['a . b . c . d . e'], of=slice(1))
    assert meta['palette'] == [(1, 2, 3)] * 5
    detect(model, ['a . b . c . d . e . f'], of=slice(1))
    assert model.dataset_meta is meta and meta['palette'] == 'random'


@pytest.mark.parametrize('with_vocabulary', [False, True])
@pytest.mark.parametrize('variant', ['vild', 'image', 'ensemble'])
def test_whose_score(build, detect, variant, with_vocabulary, make_sample, images):
    """Every field from the logits of the region that a detection comes from."""
    model = build(variant, explain=6, with_vocabulary=with_vocabulary)
    head = model.roi_head.bbox_head
    seen = {}
    classify = head.classify
    head.classify = lambda *args: seen.setdefault('logits', classify(*args))
    (found,) = detect(model, ['whale . dog . b'], of=slice(1))
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
        assert found.other_scores[i].tolist() == [score for score, _, _ in others[:6]]
        assert found.other_names[i] == [name for _, name, _ in others[:6]]
        assert found.other_novel[i].tolist() == [is_novel for _, _, is_novel in others[:6]]


@pytest.mark.parametrize('variant', ['vild', 'ensemble'])
def test_nothing_to_explain(build, make_sample, images, variant):
    """Without any proposal, in one of two images and in both, the fields are the same."""
    model = build(variant, explain=2)
    boxes = torch.tensor([[4.0, 4, 40, 40], [10, 10, 30, 50]])
    fields = []
    for counts in ([0, 2], [0, 0]):
        samples = []
        for count in counts:
            sample = make_sample()
            sample.proposals = InstanceData(bboxes=boxes[:count], scores=torch.rand(count))
            samples.append(sample)
        with torch.no_grad():
            found = [sample.pred_instances for sample in model.predict(images[:2], samples)]
        assert [len(instances) > 0 for instances in found] == [count > 0 for count in counts]
        assert found[0].masks.shape == (0, SIZE, SIZE) and found[0].other_names == []
        fields += [set(instances.keys()) for instances in found]
    assert fields[0] == fields[1] == fields[2] == fields[3] >= {'objectness', 'other_scores'}


@pytest.mark.parametrize('explain', [True, -1, 2.0, 'all'])
def test_how_many_words_to_name(build, detect, explain):
    with pytest.raises(
        ValueError, match=f'explain in test_cfg.rcnn must be a whole .* found {explain!r}'
    ):
        detect(build(explain=explain), ['whale'], of=slice(1))


@pytest.mark.parametrize('packer', [{}, dict(meta_keys=('img_path', 'text'))])
def test_pipelines_hand_words_on(build, packer):
    """Those of MMDetection's configs, too, which drop what they do not know."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs', **packer)]
    model = build()
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    packer = TRANSFORMS.build(model.cfg.test_dataloader.dataset.pipeline[-1])
    results = dict(img=np.zeros((4, 4, 3)), img_path='a.jpg', text='cat', custom_entities=True)
    sample = packer(results)['data_samples']
    assert sample.metainfo == dict(img_path='a.jpg', text='cat', custom_entities=True)
    assert model.cfg.test_dataloader.dataset.pipeline[0] == pipeline[0]


def test_a_pipeline_without_meta_keys(build, monkeypatch):
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda _, message: warnings.append(message))
    pipeline = [dict(type='LoadImageFromFile')]
    build().cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    assert 'LoadImageFromFile, has no meta_keys' in warnings[0]


class TestBaked:
    """bake_vocabulary.py."""

    WORDS = 'whale . couch / settee . mug'

    @pytest.fixture
    def bake(self, tmp_path, monkeypatch):
        """Runs the tool on a detector; returns the one that it writes."""
        folder = Path(__file__).parents[3] / 'tools' / 'model_converters'
        monkeypatch.syspath_prepend(str(folder))

        def run(model, *options, out='deployed.pth'):
            monkeypatch.chdir(tmp_path)
            Config(dict(model=model.given)).dump('config.py')
            torch.save(dict(state_dict=model.state_dict()), 'trained.pth')
            monkeypatch.setattr(
                sys, 'argv', ['tool', 'config.py', 'trained.pth', '--out', out, *options]
            )
            runpy.run_path(str(folder / 'bake_vocabulary.py'), run_name='__main__')
            baked = MODELS.build(Config.fromfile('deployed.py').model)
            state = torch.load('deployed.pth', weights_only=True)['state_dict']
            baked.load_state_dict(state, strict=True)
            return baked.eval()

        return run

    @pytest.mark.parametrize('variant', ['text', 'image', 'vild', 'ensemble'])
    def test_finds_the_same(self, build, detect, bake, variant):
        """As with words that are asked for, and without a teacher."""
        model = build(variant, with_vocabulary=True)
        baked = bake(model, '--texts', self.WORDS)
        assert baked.dataset_meta['classes'] == ('whale', 'couch', 'mug')
        assert baked.dataset_meta['novel_classes'] == ('whale', 'mug')
        (live,) = detect(model, [self.WORDS], of=slice(1))
        (found,) = detect(baked, [None], of=slice(1))
        torch.testing.assert_close(found.scores, live.scores)
        torch.testing.assert_close(found.bboxes, live.bboxes)
        assert found.label_names == live.label_names and len(set(found.label_names)) == 3
        assert torch.equal(found.novel, live.novel)
        # it can be asked for each of them, and for those that compete
        (found,) = detect(baked, ['mug . dog'], of=slice(1))
        assert set(found.label_names) == {'mug', 'dog'}

    def test_words_alone(self, build, detect, bake):
        model = build(with_vocabulary=False)
        baked = bake(model, '--texts', self.WORDS)
        assert baked.vocabulary.names == ('whale', 'couch', 'mug')
        (live,), (found,) = (
            detect(*of, of=slice(1)) for of in ((model, [self.WORDS]), (baked, [None]))
        )
        torch.testing.assert_close(found.scores, live.scores)

    def test_its_own_vocabulary(self, build, detect, bake):
        model = build('ensemble')
        (expected,) = detect(model, [None], of=slice(1))
        (found,) = detect(bake(model), [None], of=slice(1))
        torch.testing.assert_close(found.scores, expected.scores)
        assert found.label_names == expected.label_names

    def test_learns_on(self, build, bake, make_sample, images):
        """Of what only competes no detector learns."""
        baked = bake(build(with_vocabulary=True), '--texts', self.WORDS).train()
        head = baked.roi_head.bbox_head
        logits, _ = head(torch.randn(5, 8, 7, 7))
        assert logits.shape == (5, 3 + 3 + 1)
        assert head.fc_cls.training_logits(logits).shape == (5, 3 + 1)

    def test_overwrites_nothing_it_reads(self, build, bake, capsys):
        with pytest.raises(SystemExit):
            bake(build(), out='trained.pth')
        assert 'would overwrite trained.pth' in capsys.readouterr().err
        with pytest.raises(SystemExit):
            bake(build(), out='config.pth')
        assert 'would overwrite config.py' in capsys.readouterr().err


def test_whose_score_is_not_said_unasked(build, detect):
    (found,) = detect(build(), ['whale . dog'], of=slice(1))
    assert set(found.keys()) == {*('bboxes', 'scores', 'labels', 'masks', 'label_names', 'novel')}
