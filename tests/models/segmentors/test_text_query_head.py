"""What a head learns by words, and that it is mmdet's where the method is turned off."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from small_segmentor import (
    CLASSES,
    LAYERS,
    WIDTH,
    built,
    gkc_config,
    mmdet_config,
    segment_batch,
    write_words,
)
from torch import nn
from two_processes import in_two_processes

from mmdet_vild.models import FeatureDistillLoss
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl


@pytest.fixture(scope='module')
def path(tmp_path_factory) -> str:
    return write_words(str(tmp_path_factory.mktemp('words') / 'words.npz'))


def both_losses(path: str) -> dict:
    return dict(
        synonym_loss=dict(type='SynonymLoss', text_embeddings=path),
        distill_loss=dict(type='TextGuidedDistillLoss'),
    )


@pytest.mark.parametrize('former', ['mask2former', 'maskformer'])
def test_is_mmdets_where_the_method_is_off(path, former):
    """Weights copied: the same masks, logits, losses and instances."""
    model = built(gkc_config(path, former, shared_projection=True)).eval()
    config = mmdet_config(former)
    config.test_cfg.instance_on = True
    plain = built(config).eval()
    ours, theirs = model.panoptic_head, plain.panoptic_head
    theirs.cls_embed = nn.Sequential(ours.cls_embed, nn.ReLU(), copy.deepcopy(ours.fc_cls))
    plain.load_state_dict(model.state_dict(), strict=False)
    batch = segment_batch(3, 2)
    with torch.no_grad():
        features = model.extract_feat(batch['inputs'])
        hidden, masks = ours(features, batch['data_samples'])
        logits, expected = theirs(features, batch['data_samples'])
        for one, other in zip(masks, expected, strict=True):
            assert torch.equal(one, other)
        for i, (one, other) in enumerate(zip(hidden, logits, strict=True)):
            torch.testing.assert_close(ours.training_logits(ours.embed(one, i)), other)
        losses = []
        for each in (model, plain):
            torch.manual_seed(0)
            losses.append(each(**copy.deepcopy(batch), mode='loss'))
        assert losses[0].keys() == losses[1].keys()
        for key, value in losses[0].items():
            torch.testing.assert_close(value, losses[1][key])
        found, expected = (each.predict(batch['inputs'], copy.deepcopy(batch['data_samples']))
                           for each in (model, plain))  # fmt: skip
    for one, other in zip(found, expected, strict=True):
        one, other = one.pred_instances, other.pred_instances
        assert torch.equal(one.labels, other.labels) and torch.equal(one.masks, other.masks)
        torch.testing.assert_close(one.scores, other.scores)


@pytest.mark.parametrize('student', ['prior', 'prior_relu', 'posterior', 'direct'])
@pytest.mark.parametrize('counts', [(3, 0, 2), (0, 0)])
def test_every_parameter_has_a_gradient(path, student, counts):
    """Also where no image has a segment, or DistributedDataParallel would wait for ever."""
    model = built(gkc_config(path, student=student, region_dropout=0.5, **both_losses(path)))
    losses = model(**segment_batch(*counts), mode='loss')
    assert {f'd{i}.loss_{name}' for i in range(LAYERS) for name in ('synonym', 'distill')} < set(
        losses
    )
    assert losses['distill_scale'] == 1
    total, logged = model.parse_losses(losses)
    assert torch.isfinite(total) and 'distill_scale' in logged
    total.backward()
    missing = [name for name, value in model.named_parameters() if value.grad is None]
    assert not missing


def test_each_prediction_has_a_projection_of_its_own(path):
    head = built(gkc_config(path)).panoptic_head
    features = torch.randn(2, WIDTH)
    rows = [head.embed(features, i) for i in range(LAYERS + 1)]
    assert not torch.allclose(rows[0], rows[1])
    last = head.fc_cls.projection(features.relu())
    torch.testing.assert_close(rows[-1], nn.functional.normalize(last))
    assert torch.equal(rows[-1], head.embed(features))
    shared = built(gkc_config(path, shared_projection=True)).panoptic_head
    assert torch.equal(shared.embed(features, 0), shared.embed(features))


def test_region_dropout_leaves_queries_out_of_the_mean(path):
    """With all queries of segments dropped, the loss is the mean over those of none."""
    model = built(gkc_config(path, region_dropout=1.0))
    batch = segment_batch(3)
    head = model.panoptic_head
    with torch.no_grad():
        hidden, masks = head(model.extract_feat(batch['inputs']), batch['data_samples'])
        logits = head.training_logits(head.embed(hidden[-1]))
        gts = head.preprocess_gt([s.gt_instances for s in batch['data_samples']], [None])
        loss, *_ = head._loss_by_feat_single(logits, masks[-1], gts, [{}])
    matched = head._targets[0][2]
    none = torch.ones(logits.shape[1], dtype=torch.bool)
    none[matched] = False
    expected = -logits[0, none].log_softmax(-1)[:, -1].mean()
    torch.testing.assert_close(loss, 2.0 * expected)


def test_region_dropout_leaves_queries_out_of_the_synonym_loss(path):
    """As above, over the likeliest names of the categories."""
    synonym_loss = dict(type='SynonymLoss', text_embeddings=path, way='max', loss_weight=3.0)
    head = built(gkc_config(path, region_dropout=1.0, synonym_loss=synonym_loss)).panoptic_head
    embeddings = nn.functional.normalize(torch.randn(1, 6, WIDTH), dim=-1)
    labels = torch.tensor([2, CLASSES, 0, CLASSES, CLASSES, CLASSES])
    matched = [(labels, None, torch.tensor([2, 0]), torch.tensor([0, 1]))]
    instances = InstanceData(labels=torch.tensor([0, 2]), synonyms=torch.tensor([1, 0]))
    found = head._synonym_losses(embeddings, matched, [instances])['loss_synonym']
    names = nn.functional.normalize(torch.from_numpy(TextEmbeddings.load(path).synonym_embeddings))
    none = nn.functional.normalize(head.fc_cls.background, dim=0)
    logits = (embeddings @ names.T).view(1, 6, CLASSES, 2).amax(-1)
    logits = torch.cat([logits, embeddings @ none[:, None]], dim=-1) / 0.07
    expected = -logits.log_softmax(-1)[0, labels == CLASSES, -1].mean()
    torch.testing.assert_close(found, 3.0 * expected)


@pytest.mark.parametrize('way', ['random', 'max', 'mean'])
def test_synonyms_of_novel_categories_do_not_compete(path, tmp_path, way):
    """What the classifier calls novel: whatever its names are, they change no loss."""
    text = TextEmbeddings.load(path)
    rows = text.synonym_embeddings.copy()
    rows[2:4] = np.random.default_rng(9).normal(size=(2, WIDTH))  # of category 1
    changed = str(tmp_path / 'changed.npz')
    replace(text, synonym_embeddings=rows).save(changed)
    batch = segment_batch(3)
    (sample,) = batch['data_samples']
    sample.gt_instances.labels = torch.tensor([0, 2, 4])

    def loss(synonyms: str, novel: list[int]) -> torch.Tensor:
        words = write_words(str(tmp_path / 'novel.npz'), novel=novel)
        synonym_loss = dict(type='SynonymLoss', text_embeddings=synonyms, way=way)
        model = built(gkc_config(words, synonym_loss=synonym_loss))
        torch.manual_seed(0)  # the points of the masks are drawn
        return model(**copy.deepcopy(batch), mode='loss')['loss_synonym']

    assert loss(path, []) != loss(changed, [])
    assert loss(path, [1]) == loss(changed, [1])


def test_novel_categories_leave_the_softmax(path, tmp_path):
    words = write_words(str(tmp_path / 'novel.npz'), novel=[1])
    head = built(gkc_config(words)).panoptic_head
    embeddings = head.embed(torch.randn(1, 4, WIDTH))
    logits = head.training_logits(embeddings)
    assert (logits[..., 1] == -torch.inf).all() and torch.isfinite(logits).sum() == 4 * CLASSES
    head.fc_cls.mask_novel = 'drop'  # which other heads tell from True
    assert torch.equal(head.training_logits(embeddings), logits)
    head.fc_cls.mask_novel = False
    assert torch.isfinite(head.training_logits(embeddings)).all()


def test_regions_are_those_of_the_segments(path, monkeypatch):
    """Whatever query a segment is matched with, its own embedding is distilled; at most so many."""
    seen = []

    def noted(self, student, teacher, weights=None):
        seen.append((student.detach(), teacher))
        return student.sum() * 0

    monkeypatch.setattr(FeatureDistillLoss, 'forward', noted)
    config = gkc_config(
        path, student='direct', max_regions=4, distill_loss=dict(type='FeatureDistillLoss')
    )
    batch = segment_batch(3, 2)
    everything = torch.cat([s.gt_instances.embeddings for s in batch['data_samples']]).float()
    built(config)(**batch, mode='loss')
    rows = [[everything.eq(row).all(1).nonzero().item() for row in teacher] for _, teacher in seen]
    assert len(rows) == LAYERS + 1 and all(row == rows[0] for row in rows)
    assert len(rows[0]) == 4 and rows[0] == sorted(rows[0])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(cls_predictor_cfg=dict(type='Linear', out_features=6)), 'must be a CLIPText'),
        (dict(synonym_loss=dict(type='L1Loss')), 'must be a SynonymLoss'),
        (dict(distill_loss=dict(type='L1Loss')), 'must be a FeatureDistillLoss'),
        (dict(num_things_classes=4), 'class_weight of loss_cls'),
        (dict(student='prio'), 'student of GKCHead'),
    ],
)
def test_refuses_parts_that_do_not_fit(path, change, message):
    config = gkc_config(path).panoptic_head
    config = ConfigDict({**config, **change})
    with pytest.raises((TypeError, ValueError), match=message):
        MODELS.build(config)


def test_refuses_rivals(path):
    config = gkc_config(path)
    config.panoptic_head.cls_predictor_cfg.rivals = path
    with pytest.raises(ValueError, match='rivals of the classifier of GKCHead have no place'):
        built(config)


def test_refuses_ground_truth_without_what_is_needed(path):
    model = built(gkc_config(path, **both_losses(path)))
    batch = segment_batch(2)
    instances = batch['data_samples'][0].gt_instances
    instances.set_metainfo(dict(teacher='teacher@0+1'))  # tuned since it encoded the words
    model(**copy.deepcopy(batch), mode='loss')
    instances.set_metainfo(dict(teacher='another@1'))
    with pytest.raises(ValueError, match='both must come from one teacher'):
        model(**batch, mode='loss')
    del instances.embeddings
    with pytest.raises(ValueError, match='add SegmentEmbeddings'):
        model(**batch, mode='loss')
    del instances.synonyms
    with pytest.raises(ValueError, match='add DrawSynonyms'):
        model(**batch, mode='loss')


def _train_on(rank: int, config, folder: str) -> None:
    """A step of one of two processes, of which the second has no segment."""
    store = f'file://{folder}/store'
    torch.distributed.init_process_group('gloo', init_method=store, rank=rank, world_size=2)
    model = built(config)
    wrapped = nn.parallel.DistributedDataParallel(model)  # which finds no unused parameters
    for _ in range(2):  # the second step waits for every gradient of the first
        model.zero_grad()
        total, _ = model.parse_losses(wrapped(**segment_batch(*((3, 2) if rank == 0 else (0, 0))),
                                              mode='loss'))  # fmt: skip
        total.backward()
    grads = torch.cat([value.grad.flatten() for value in model.parameters()])
    both = [torch.zeros_like(grads) for _ in range(2)]
    torch.distributed.all_gather(both, grads)
    assert torch.equal(*both) and torch.isfinite(grads).all() and grads.any()
    assert model.panoptic_head.distill_loss.scale.grad != 0


def test_two_processes_agree_though_one_has_no_segment(path, tmp_path):
    config = gkc_config(path, **both_losses(path))
    in_two_processes(_train_on, config, str(tmp_path))
