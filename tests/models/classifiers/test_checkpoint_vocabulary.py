"""A vocabulary inside a checkpoint."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hash_teacher import OWN
from mmdet.registry import MODELS
from mmengine.config import Config
from small_models import build as build_model

from mmdet_vild.models import vocabulary_state
from mmdet_vild.vocabulary import TextEmbeddings

pytestmark = pytest.mark.onedl

FIRST = slice(1)


def build(path: str | None, count: int = 7, **kwargs):
    cfg = dict(type='CLIPTextClassifier', in_features=12, out_features=count + 1)
    return build_model({**cfg, 'text_embeddings': path, **kwargs})


def json_tensor(text: str) -> torch.Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


class TestClassifier:
    """The vocabulary in the checkpoint, in place of a file."""

    @pytest.fixture
    def text(self, write_text):
        return TextEmbeddings.load(write_text(count=4, name='other', seed=1))

    @pytest.fixture
    def state(self, write_text, text):
        """Of a trained classifier, with other words baked in."""
        return build(write_text()).state_dict() | vocabulary_state(text, 4)

    def test_words_are_the_checkpoints(self, write_text, state, text, tmp_path):
        torch.save(state, tmp_path / 'baked.pth')
        baked = build(None, count=4, embed_dims=16).eval()
        assert baked.names == ()
        with pytest.raises(ValueError, match='in its checkpoint, which was not loaded'):
            baked(torch.randn(5, 12))
        baked.load_state_dict(torch.load(tmp_path / 'baked.pth', weights_only=True), strict=True)
        expected = build(write_text(count=4, name='other', seed=1), count=4).eval()
        expected.load_state_dict(state, strict=True)  # the file's words, whatever is in there
        features = torch.randn(5, 12)
        torch.testing.assert_close(baked(features), expected(features))
        assert baked.names == text.names and torch.equal(baked.novel, expected.novel)
        assert baked.vocabulary.teacher == text.teacher
        again = build(None, count=4, embed_dims=16)
        again.load_state_dict(baked.state_dict(), strict=True)
        torch.testing.assert_close(again.eval()(features), baked(features))

    @pytest.mark.parametrize(
        ('changes', 'message'),
        [
            (dict(vocabulary_json=json_tensor('{')), 'is damaged: Expecting'),
            (dict(vocabulary_json=json_tensor('[]')), 'is damaged: list'),
            (dict(vocabulary_json=json_tensor('[' * 10_000)), 'is damaged: maximum recursion'),
            (dict(vocabulary_json='names'), 'is damaged: .*str'),
            (dict(novel=None), 'is damaged: .*NoneType'),
            (dict(text_embeddings=torch.zeros(4, 16)), 'is damaged: .* zero or not finite'),
            (dict(novel=torch.zeros(3, dtype=torch.bool)), 'is damaged: .* a novel mask of shape'),
            (dict(text_embeddings=torch.ones(4, 8)), 'are 8 wide, but embed_dims is 16'),
            (dict(teacher_digest=torch.ones(32, dtype=torch.uint8)), 'words of another'),
            (dict(teacher_digest='?'), 'words of another'),
        ],
    )
    def test_refuses_damage(self, state, changes, message):
        with pytest.raises(ValueError, match=message):
            build(None, count=4, embed_dims=16).load_state_dict(state | changes)

    def test_refuses(self, write_text, state, text):
        baked = build(None, embed_dims=16)
        with pytest.raises(ValueError, match='is damaged: 7 of its 4 words'):
            baked.load_state_dict(state | vocabulary_state(text, 7))
        with pytest.raises(ValueError, match='holds 4 categories, .* num_classes=7'):
            baked.load_state_dict(state)
        with pytest.raises(ValueError, match='has no text_embeddings, novel, vocabulary_json'):
            baked.load_state_dict(build(write_text()).state_dict())
        with pytest.raises(ValueError, match='either a text-embedding file'):
            build(None)
        with pytest.raises(ValueError, match='the checkpoint has the average of synonyms alone'):
            build(None, 4, embed_dims=16, synonyms='mean').load_state_dict(state)


class TestDetector:
    """What bake_vocabulary.py writes, against words that are asked for."""

    WORDS = 'whale . couch / settee . mug'

    @pytest.fixture
    def bake(self, tmp_path, monkeypatch):
        """Runs the tool on a detector; returns the one that it writes."""
        folder = Path(__file__).parents[3] / 'tools' / 'model_converters'

        def run(model, *options, out='deployed.pth'):
            monkeypatch.chdir(tmp_path)
            Config(dict(model=model.given)).dump('config.py')
            torch.save(dict(state_dict=model.state_dict()), 'trained.pth')
            arguments = ['tool', 'config.py', 'trained.pth', '--out', out, *options]
            monkeypatch.setattr(sys, 'argv', arguments)
            runpy.run_path(str(folder / 'bake_vocabulary.py'), run_name='__main__')
            baked = MODELS.build(Config.fromfile('deployed.py').model)
            state = torch.load('deployed.pth', weights_only=True)['state_dict']
            baked.load_state_dict(state, strict=True)
            return baked.eval()

        return run

    @pytest.mark.parametrize('variant', ['text', 'image', 'vild', 'ensemble'])
    def test_finds_the_same(self, vild, detect, bake, variant):
        """As with words that are asked for, and without a teacher."""
        model = vild(variant, with_vocabulary=True)
        baked = bake(model, '--texts', self.WORDS)
        assert baked.dataset_meta['classes'] == ('whale', 'couch', 'mug')
        assert baked.dataset_meta['novel_classes'] == ('whale', 'mug')
        (live,) = detect(model, [self.WORDS], FIRST)
        (found,) = detect(baked, [None], FIRST)
        torch.testing.assert_close(found.scores, live.scores)
        torch.testing.assert_close(found.bboxes, live.bboxes)
        assert found.label_names == live.label_names and len(set(found.label_names)) == 3
        assert torch.equal(found.novel, live.novel)
        # it can be asked for each of them, and for those that compete
        (found,) = detect(baked, ['mug . dog'], FIRST)
        assert set(found.label_names) == {'mug', 'dog'}

    def test_pictures(self, vild, detect, bake, tmp_path):
        """In place of words, from a file: they are on the same level, and no longer needed."""
        cv2.imwrite(str(tmp_path / 'mug.png'), np.full((9, 9, 3), 40, np.uint8))
        words = tmp_path / 'words.json'
        words.write_text(json.dumps([dict(name='whale'), dict(name='it', examples=['mug.png'])]))
        model = vild('ensemble', with_vocabulary=True)
        (live,) = detect(model, [str(words)], FIRST)
        baked = bake(model, '--texts', str(words))
        (tmp_path / 'mug.png').unlink()
        (found,) = detect(baked, [None], FIRST)
        torch.testing.assert_close(found.scores, live.scores)
        assert found.label_names == live.label_names and set(found.label_names) == {'whale', 'it'}
        assert baked.roi_head.bbox_head.fc_cls.pictures.sum() == 1

    @pytest.mark.parametrize('words', [WORDS, None])
    def test_without_rivals(self, vild, detect, bake, words):
        """Its own vocabulary, too."""
        model = vild('ensemble', with_vocabulary=False)
        baked = bake(model, *(['--texts', words] if words else []))
        names = ('whale', 'couch', 'mug') if words else tuple(name for name, *_ in OWN)
        assert baked.vocabulary.names == names
        (expected,), (found,) = detect(model, [words], FIRST), detect(baked, [None], FIRST)
        torch.testing.assert_close(found.scores, expected.scores)
        assert found.label_names == expected.label_names

    def test_learns_on(self, vild, bake):
        """Of what only competes no detector learns."""
        baked = bake(vild(with_vocabulary=True), '--texts', self.WORDS).train()
        head = baked.roi_head.bbox_head
        logits, _ = head(torch.randn(5, 8, 7, 7))
        assert logits.shape == (5, 3 + 3 + 1)
        assert head.fc_cls.training_logits(logits).shape == (5, 3 + 1)

    @pytest.mark.parametrize('name, read', [('trained', 'trained.pth'), ('config', 'config.py')])
    def test_overwrites_nothing_it_reads(self, vild, bake, capsys, name, read):
        with pytest.raises(SystemExit):
            bake(vild(), out=f'{name}.pth')
        assert f'would overwrite {read}' in capsys.readouterr().err
